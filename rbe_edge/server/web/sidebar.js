// The list of conversations: chosen, renamed, exported, deleted. On a narrow screen it lies over the page.

import { ask, download } from "./dialogs.js";
import { button, byId, element, notice, onClick, wordButton } from "./elements.js";
import * as store from "./store.js";

const narrow = matchMedia("(max-width: 56rem)");

// actions: {open(chat), create(), current(): chat, modelName()}
export class Sidebar {
  constructor(actions) {
    this.actions = actions;
    onClick(byId("open-side"), () => this.toggle(true));
    onClick(byId("close-side"), () => this.toggle(false));
    onClick(byId("veil"), () => this.toggle(false));
    byId("side").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && narrow.matches) this.toggle(false);
    });
    onClick(byId("new"), () => {
      this.toggle(false);
      actions.create();
    });
    onClick(byId("export-all"), () => this.exportAll());
    onClick(byId("import"), () => byId("import-file").click());
    byId("import-file").addEventListener("change", (event) => this.importFile(event.target));
    narrow.addEventListener("change", () => this.toggle(false));
    this.toggle(false);
  }

  // Where the page is wide it is always there.
  toggle(open) {
    const hidden = narrow.matches && !open;
    const had = byId("side").contains(document.activeElement);
    document.body.classList.toggle("side-open", narrow.matches && open);
    byId("side").inert = hidden;
    byId("page").inert = narrow.matches && open;
    byId("open-side").setAttribute("aria-expanded", String(!hidden));
    if (narrow.matches && open) byId("close-side").focus();
    else if (hidden && had) byId("open-side").focus();
  }

  show() {
    const current = this.actions.current();
    const lines = store.conversations().map((chat) => this.line(chat, chat.id === current.id));
    if (!lines.length) lines.push(element("li", { class: "soft" }, "None yet."));
    byId("conversations").replaceChildren(...lines);
  }

  line(chat, isCurrent) {
    const title = chat.title || "Without a title";
    const choose = () => {
      this.toggle(false);
      this.actions.open(store.conversation(chat.id) || chat);
    };
    const open = wordButton(title, choose, { class: "open", dir: "auto", title });
    const line = element("li", {}, open);
    if (!isCurrent) return line;
    open.setAttribute("aria-current", "true");
    line.className = "current";
    line.append(
      button("edit", "Rename", () => this.rename(chat.id)),
      button("export", "Export as Markdown", () => this.exportOne(chat.id)),
      button("delete", "Delete", () => this.remove(chat.id))
    );
    return line;
  }

  async rename(id) {
    const chat = store.conversation(id);
    const title = await ask({ title: "Rename the conversation", value: chat.title, yes: "Rename" });
    if (title === null || !title.trim()) return;
    const now = this.actions.current().id === id ? this.actions.current() : chat;
    now.title = store.titleOf(title);
    now.named = true;
    store.keep(now);
    this.show();
  }

  remove(id) {
    const chat = store.conversation(id);
    store.forget(id);
    if (this.actions.current().id === id) this.actions.create();
    this.show();
    notice("The conversation is deleted.", () => this.restore(chat), "Undo");
  }

  restore(chat) {
    store.keep(chat);
    this.actions.open(chat);
  }

  exportOne(id) {
    const chat = store.conversation(id);
    download(fileName(chat.title, "md"), store.asMarkdown(chat, this.actions.modelName()), "text/markdown");
  }

  exportAll() {
    const text = JSON.stringify({ "rbe-edge": 1, conversations: store.conversations() }, null, 1);
    download("conversations.json", text, "application/json");
  }

  async importFile(field) {
    let found = [];
    try {
      found = JSON.parse(await field.files[0].text()).conversations.map(store.checked).filter(Boolean);
    } catch {
      // Said below.
    }
    field.value = "";
    const fresh = found.filter((chat) => !store.conversation(chat.id));
    for (const chat of fresh) store.keep(chat);
    this.show();
    if (!found.length) notice("This file holds no conversations.");
    else notice(`${fresh.length} imported.`);
  }
}

function fileName(title, end) {
  const words = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40);
  return `${words || "conversation"}.${end}`;
}
