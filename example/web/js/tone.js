// A ringing tone. A page may make a sound only after somebody has used it, so
// a page that was just reloaded rings in silence.
let context = null;
let timer = null;

/** Rings until quiet: as a phone that is called, or as the line to one. */
export function ringing(called) {
  if (timer !== null || !navigator.userActivation?.hasBeenActive) return;
  const once = () => (called ? [660, 880, 660, 880] : [425]).forEach((hertz, i) => beep(hertz, i * 0.18, called ? 0.16 : 1));
  once();
  timer = setInterval(once, called ? 2_000 : 4_000);
}

export function quiet() {
  clearInterval(timer);
  timer = null;
  context?.close();
  context = null;
}

function beep(hertz, after, seconds) {
  context ??= new AudioContext();
  const start = context.currentTime + after;
  const tone = context.createOscillator();
  const volume = context.createGain();
  tone.frequency.value = hertz;
  volume.gain.setValueAtTime(0, start);
  volume.gain.linearRampToValueAtTime(0.06, start + 0.02);
  volume.gain.setValueAtTime(0.06, start + seconds - 0.03);
  volume.gain.linearRampToValueAtTime(0, start + seconds);
  tone.connect(volume).connect(context.destination);
  tone.start(start);
  tone.stop(start + seconds);
}
