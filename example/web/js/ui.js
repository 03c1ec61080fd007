// Small things that the views are made of. Whatever people write becomes a text
// node: nothing here, or anywhere on the page, makes HTML of a string.
import { locale } from "./i18n.js";

export const $ = (id) => document.getElementById(id);

/** An element; props are attributes, functions are listeners. */
export function h(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (typeof value === "function") e.addEventListener(name, value);
    else if (value !== undefined && value !== false) e.setAttribute(name, value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

/** An icon of those in index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", `i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** The first letter of a name, in a colour that is always his. */
export function avatar(name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 997;
  const [first = "?"] = new Intl.Segmenter().segment(name);
  return h("span", { class: "avatar", "data-hue": sum % 6, "aria-hidden": "true" }, (first.segment ?? first).toLocaleUpperCase());
}

export function time(ts) {
  return new Date(ts).toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit" });
}

/** Whether there is anything to see: spaces and characters without a shape are nothing. */
export function visible(text) {
  return /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}\u2800]/u.test(text);
}

/** Sets what has changed and touches nothing else. */
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

/** Says it aloud to those who cannot see it. */
export function say(text) {
  const said = $("said");
  said.append(h("p", null, text));
  while (said.childElementCount > 20) said.firstElementChild.remove();
}
