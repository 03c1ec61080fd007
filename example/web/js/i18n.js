// The words of the page, in Spanish and English.
const words = {
  es: {
    other: "English",
    welcome: "Hola, ¿quién eres?",
    loginHint: "Escribe un nombre y entra. Para hablar con alguien, abre otra pestaña con otro nombre.",
    loginDemo: "Esto es una demostración: no hay contraseña, cualquiera puede usar cualquier nombre.",
    name: "Tu nombre",
    login: "Entrar",
    logout: "Salir",
    loginName: "Ese nombre no se puede usar. Prueba con otro.",
    loginInvisible: "Ese nombre no se vería. Escribe al menos una letra.",
    loginFailed: "No se pudo entrar. ¿Está el servidor en marcha?",
    refused: (code) => `El servidor no te deja entrar (${code}).`,
    ended: "El servidor ha cerrado tu sesión.",
    noClient: "Falta socket.io-client. Ejecuta «make setup» y recarga la página.",
    people: "Personas",
    peopleEmpty: "Todavía no hay nadie más. Abre esta dirección en otra pestaña y entra con otro nombre.",
    pick: "Elige a alguien para hablar.",
    online: "en línea",
    offline: "desconectado",
    typing: "está escribiendo…",
    unread: (n) => (n === 1 ? "1 mensaje sin leer" : `${n} mensajes sin leer`),
    you: "Tú",
    back: "Volver a la lista",
    messages: "Mensajes",
    write: "Escribe un mensaje",
    send: "Enviar",
    photo: "Enviar una foto",
    photoOf: (who) => `Foto de ${who}`,
    photoGone: "Foto (no se guarda al recargar)",
    photoBroken: "Foto que este navegador no puede mostrar",
    photoTooBig: "La foto es demasiado grande.",
    photoUnread: "Ese archivo no es una foto que este navegador entienda.",
    odd: "Mensaje de otro tipo",
    blank: "Mensaje vacío",
    pending: "Pendiente de enviar",
    notThere: "No está: se enviará cuando vuelva, mientras esta página siga abierta",
    sent: "Enviado",
    delivered: "Entregado",
    read: "Leído",
    failed: (code) => `No se pudo enviar (${code})`,
    retry: "Reintentar",
    connecting: "Conectando…",
    reconnecting: "Sin conexión. Volviendo a conectar…",
    call: "Llamada",
    ringAudio: "Llamar",
    ringVideo: "Videollamada",
    dialling: (who) => `Llamando a ${who}…`,
    incomingAudio: (who) => `${who} te llama`,
    incomingVideo: (who) => `${who} te hace una videollamada`,
    active: (who) => `En llamada con ${who}`,
    accept: "Aceptar",
    decline: "Rechazar",
    declining: "Rechazando…",
    giveUp: "Cancelar",
    hangUp: "Colgar",
    close: "Cerrar",
    signalling: "Esto es solo la señalización: aquí tu app abriría el audio y el vídeo.",
    declined: (who) => `${who} ha rechazado la llamada`,
    busy: (who) => `${who} está en otra llamada`,
    offlineCall: (who) => `${who} no está en línea`,
    forbidden: (who) => `No puedes llamar a ${who}`,
    failedCall: () => "La llamada no ha podido ser",
    timeout: (who) => `${who} no contesta`,
    missed: (who) => `Llamada perdida de ${who}`,
    over: () => "Llamada terminada",
    elsewhere: () => "Contestada en otro dispositivo",
    declinedElsewhere: () => "Rechazada en otro dispositivo",
    declinedHere: () => "Has rechazado la llamada",
    gaveUp: () => "Has cancelado la llamada",
  },
  en: {
    other: "Español",
    welcome: "Hi, who are you?",
    loginHint: "Type a name and come in. To talk to somebody, open another tab with another name.",
    loginDemo: "This is a demo: there is no password, anybody can use any name.",
    name: "Your name",
    login: "Log in",
    logout: "Log out",
    loginName: "That name cannot be used. Try another one.",
    loginInvisible: "Nobody could see that name. Type at least one letter.",
    loginFailed: "Could not log in. Is the server running?",
    refused: (code) => `The server does not let you in (${code}).`,
    ended: "The server has ended your session.",
    noClient: "socket.io-client is missing. Run “make setup” and reload the page.",
    people: "People",
    peopleEmpty: "There is nobody else yet. Open this address in another tab and log in with another name.",
    pick: "Pick somebody to talk to.",
    online: "online",
    offline: "offline",
    typing: "is typing…",
    unread: (n) => (n === 1 ? "1 unread message" : `${n} unread messages`),
    you: "You",
    back: "Back to the list",
    messages: "Messages",
    write: "Write a message",
    send: "Send",
    photo: "Send a photo",
    photoOf: (who) => `Photo from ${who}`,
    photoGone: "Photo (not kept when the page is reloaded)",
    photoBroken: "A photo that this browser cannot show",
    photoTooBig: "The photo is too big.",
    photoUnread: "That file is not a photo this browser understands.",
    odd: "A message of another kind",
    blank: "An empty message",
    pending: "Waiting to be sent",
    notThere: "Not there: will be sent on return, as long as this page is open",
    sent: "Sent",
    delivered: "Delivered",
    read: "Read",
    failed: (code) => `Could not be sent (${code})`,
    retry: "Try again",
    connecting: "Connecting…",
    reconnecting: "No connection. Trying again…",
    call: "Call",
    ringAudio: "Call",
    ringVideo: "Video call",
    dialling: (who) => `Calling ${who}…`,
    incomingAudio: (who) => `${who} is calling you`,
    incomingVideo: (who) => `${who} is video-calling you`,
    active: (who) => `In a call with ${who}`,
    accept: "Accept",
    decline: "Decline",
    declining: "Declining…",
    giveUp: "Cancel",
    hangUp: "Hang up",
    close: "Close",
    signalling: "This is only the signalling: here your app would open audio and video.",
    declined: (who) => `${who} declined the call`,
    busy: (who) => `${who} is in another call`,
    offlineCall: (who) => `${who} is not online`,
    forbidden: (who) => `You may not call ${who}`,
    failedCall: () => "The call did not come about",
    timeout: (who) => `${who} does not answer`,
    missed: (who) => `Missed call from ${who}`,
    over: () => "Call ended",
    elsewhere: () => "Answered on another device",
    declinedElsewhere: () => "Declined on another device",
    declinedHere: () => "You declined the call",
    gaveUp: () => "You cancelled the call",
  },
};

const KEY = "heymanito.language";
let language = words[localStorage.getItem(KEY)] ? localStorage.getItem(KEY) : "es";

/** The words for key; functions get the rest. */
export function t(key, ...rest) {
  const w = words[language][key];
  return typeof w === "function" ? w(...rest) : w;
}

export const locale = () => language;

/** Switches to the other language, remembers it, and puts it on the page. */
export function switchLanguage() {
  language = language === "es" ? "en" : "es";
  localStorage.setItem(KEY, language);
  translate();
}

/** Puts the words on everything whose words never change. */
export function translate() {
  document.documentElement.lang = language;
  for (const e of document.querySelectorAll("[data-t]")) e.textContent = t(e.dataset.t);
  for (const e of document.querySelectorAll("[data-t-label]")) {
    e.setAttribute("aria-label", t(e.dataset.tLabel));
    if (e.tagName === "BUTTON") e.title = t(e.dataset.tLabel);
  }
  for (const e of document.querySelectorAll("[data-t-placeholder]")) e.placeholder = t(e.dataset.tPlaceholder);
}
