// Draws messages: what was asked, what was answered, and what can be done with them.

import { button, copyButton, element, tell, wordButton } from "./elements.js";
import { MarkdownView, visible } from "./markdown_view.js";

// about: {versions, at, last, busy, modelName}: how many versions there are of it, which it is, whether nothing follows it.
// actions: {edit(index, text), again(index), pick(index, step), more(index)}
export function message(node, index, about, actions) {
  return node.role === "user" ? question(node, index, about, actions) : reply(node, index, about, actions);
}

function question(node, index, about, actions) {
  const body = element("div", { class: "said", dir: "auto" }, visible(node.text));
  const tools = element("div", { class: "tools" }, ...versionButtons(index, about, actions));
  const made = element("article", { class: "question" }, element("h2", { class: "unseen" }, "You"), body, tools);
  tools.append(
    copyButton(() => node.text, "Copy the question"),
    button("edit", "Edit", () => edit(made, node, index, actions))
  );
  return made;
}

function edit(article, node, index, actions) {
  const field = element("textarea", { dir: "auto", "aria-label": "Edit the question", rows: "3" });
  field.value = node.text;
  const whole = [...article.childNodes];
  const close = () => {
    article.replaceChildren(...whole);
    article.querySelector("button[aria-label=Edit]").focus();
  };
  const save = element("button", { class: "first" }, "Send");
  const line = element("div", { class: "buttons end" }, save, wordButton("Cancel", close));
  const form = element("form", { class: "editing" }, field, line);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) actions.edit(index, field.value.trim());
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  article.replaceChildren(form);
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

// The element has `show()`, which draws what came, the thoughts before the answer, and `finish()`, which draws what stands below a whole one.
function reply(node, index, about, actions) {
  const body = element("div", { class: "answer" });
  const thought = element("div", { class: "thought", dir: "auto" });
  const tools = element("div", { class: "tools" });
  const made = element("article", { class: "reply" }, element("h2", { class: "unseen" }, node.model || about.modelName), thought, body, tools);
  const view = new MarkdownView(body);
  made.show = () => {
    thought.textContent = visible(node.thought || "");
    view.show(node.text);
  };
  made.show();
  made.finish = (now) => {
    made.removeAttribute("aria-busy");
    made.show();
    if (!node.text.trim()) body.append(element("p", { class: "soft" }, "(an empty answer)"));
    tools.replaceChildren(
      ...versionButtons(index, now, actions),
      copyButton(() => node.text, "Copy the answer"),
      button("again", "Answer again", () => actions.again(index)),
      element("span", { class: "figures" }, figures(node))
    );
    if (node.finish === "length") tools.before(element("p", { class: "soft" }, "Cut: it is as long as the settings allow."));
    if (node.finish !== "stop" && now.last && node.text) tools.append(wordButton("Continue", () => actions.more(index)));
  };
  if (!about.busy) made.finish(about);
  return made;
}

function versionButtons(index, about, actions) {
  if (about.versions < 2) return [];
  const before = button("before", "The version before", () => actions.pick(index, -1));
  const after = button("after", "The next version", () => actions.pick(index, 1));
  before.disabled = about.at === 0;
  after.disabled = about.at === about.versions - 1;
  const count = element("span", { class: "count" }, `${about.at + 1}/${about.versions}`);
  count.setAttribute("aria-label", `version ${about.at + 1} of ${about.versions}`);
  return [before, count, after];
}

// Such as "42 tokens, 18.3 tokens/s, saver (18 %, 71 C), 12.9 J".
export function figures(node) {
  const found = [];
  if (node.stopped) found.push("stopped");
  if (node.tokens) found.push(`${node.tokens} tokens`);
  if (node.speed) found.push(`${node.speed < 10 ? node.speed.toFixed(1) : Math.round(node.speed)} tokens/s`);
  if (node.power?.mode) found.push(node.power.reason ? `${node.power.mode} (${node.power.reason})` : node.power.mode);
  if (node.power?.joules) found.push(`${node.power.joules.toPrecision(2)} J`);
  return found.join(" · ");
}

// What went wrong, with what can be done.
export function problem(error, buttons) {
  const words = [element("strong", {}, error.message)];
  if (error.advice) words.push(" ", error.advice);
  const line = element("div", { class: "buttons" }, ...buttons.map(([label, action]) => wordButton(label, action)));
  return element("div", { class: "problem", role: "alert" }, element("p", {}, ...words), line);
}

// The time until an answer begins.
export class Waiting {
  constructor(parent) {
    this.line = element("p", { class: "waiting soft" }, element("span", { class: "dots", "aria-hidden": "true" }), element("span"));
    parent.append(this.line);
    this.began = Date.now();
    this.timer = setInterval(() => this.tick(), 1000);
    tell("The answer is being made");
  }

  tick() {
    const seconds = Math.round((Date.now() - this.began) / 1000);
    const why = seconds < 15 ? "" : " for a long text, a model to load, or others";
    this.line.lastChild.textContent = seconds < 3 ? "" : `waits ${seconds} s${why}`;
  }

  end() {
    clearInterval(this.timer);
    this.line.remove();
  }
}
