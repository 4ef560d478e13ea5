// Elements of the page: made, copied to the clipboard, told to people who do not see them.

const SVG = "http://www.w3.org/2000/svg";

// children: elements, or words, which become text.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

// One of the signs that index.html defines.
export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  made.setAttribute("aria-hidden", "true");
  made.setAttribute("class", "icon");
  made.setAttribute("viewBox", "0 0 24 24");
  made.append(use);
  return made;
}

export function onClick(one, action) {
  one.addEventListener("click", action);
  return one;
}

// With a sign.
export function button(sign, label, action) {
  return onClick(element("button", { type: "button", class: "quiet", "aria-label": label, title: label }, icon(sign)), action);
}

export function wordButton(words, action, attributes = {}) {
  return onClick(element("button", { type: "button", ...attributes }, words), action);
}

export function copyButton(text, label) {
  const made = button("copy", label, async () => {
    const done = await copy(text());
    made.replaceChildren(icon(done ? "check" : "copy"));
    tell(done ? "Copied" : "The browser does not let this page copy; select the text instead");
    setTimeout(() => made.replaceChildren(icon("copy")), 1500);
  });
  return made;
}

// Browsers offer their clipboard to pages of this machine and of https alone; the older way works elsewhere too.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { class: "unseen", "aria-hidden": "true" });
    const before = document.activeElement;
    field.value = text;
    (before?.closest("dialog") || document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus();
    return done;
  }
}

// For screen readers.
export function tell(text) {
  const line = byId("told");
  line.textContent = "";
  setTimeout(() => (line.textContent = text), 50);
}

// A line at the bottom that goes, with a button where something can be done.
export function notice(text, action = null, label = "") {
  const line = byId("notice");
  line.replaceChildren(element("span", {}, text));
  const done = () => {
    line.hidden = true;
    action();
  };
  if (action) line.append(wordButton(label, done));
  line.hidden = false;
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => (line.hidden = true), action ? 10000 : 5000);
}
