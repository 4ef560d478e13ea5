// Draws Markdown as elements of the page. Words of a model only ever become text nodes: none of them is read as HTML.

import { blocks } from "./markdown_blocks.js";
import { spans } from "./markdown_inline.js";
import { copyButton, element } from "./elements.js";

const TAGS = { emphasis: "em", strong: "strong", struck: "del" };

// Characters that would not be seen, or would make text read as what it is not, become visible signs.
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

export function visible(text) {
  return text.replace(UNSEEN, (letter) => `‹U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

// A text that grows: blocks that are as before stay the elements that they are, so that a selection in them stays too.
export class MarkdownView {
  constructor(parent) {
    this.parent = parent;
    this.sources = [];
  }

  show(text) {
    const found = blocks(visible(text));
    const sources = found.map((block) => `${block.kind}\n${block.source}`);
    let same = 0;
    while (same < sources.length && sources[same] === this.sources[same]) same += 1;
    while (this.parent.children.length > same) this.parent.lastElementChild.remove();
    this.parent.append(...found.slice(same).map(withDirection));
    this.sources = sources;
  }
}

// Right to left or left to right, as its first letter is written; what is in it goes the same way.
function withDirection(block) {
  const made = drawn(block);
  if (block.kind !== "code") made.dir = "auto";
  return made;
}

function drawn(block) {
  switch (block.kind) {
    case "code":
      return code(block);
    case "heading": // the page has h1, the answer h2
      return filled(element(`h${Math.min(block.level + 2, 6)}`, { class: `level${block.level}` }), block.text);
    case "rule":
      return element("hr");
    case "quote":
      return element("blockquote", {}, ...block.blocks.map(drawn));
    case "list":
      return list(block);
    case "table":
      return table(block);
    default:
      return filled(element("p"), block.text);
  }
}

function code(block) {
  const head = element("div", { class: "code-head" }, element("span", {}, block.info));
  head.append(copyButton(() => block.text, "Copy code"));
  const body = element("pre", { tabindex: "0", dir: "ltr" }, element("code", {}, block.text));
  return element("div", { class: "code" }, head, body);
}

function list(block) {
  const made = element(block.ordered ? "ol" : "ul", { class: block.loose ? "loose" : "tight" });
  for (const item of block.items) {
    const line = element("li", block.ordered ? { value: String(item.number) } : {}, ...item.blocks.map(drawn));
    if (item.done !== null) {
      line.classList.add("task");
      line.prepend(element("span", { role: "img", "aria-label": item.done ? "done" : "to do" }, item.done ? "☑" : "☐"));
    }
    made.append(line);
  }
  return made;
}

function table(block) {
  const row = (tag, cells) =>
    element(
      "tr",
      {},
      ...cells.map((text, column) => {
        const side = block.align[column] ? { class: block.align[column] } : {};
        const made = tag === "th" && text ? element("th", { scope: "col", ...side }) : element("td", side);
        return filled(made, text);
      })
    );
  const width = Math.max(block.head.length, ...block.rows.map((cells) => cells.length));
  const whole = (cells) => [...cells, ...Array(width - cells.length).fill("")];
  return element(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, row("th", whole(block.head))),
      element("tbody", {}, ...block.rows.map((cells) => row("td", whole(cells))))
    )
  );
}

function filled(parent, text) {
  parent.append(...spans(text).map(span));
  return parent;
}

function span(one) {
  if (one.kind === "text") return document.createTextNode(one.text);
  if (one.kind === "code") return element("code", { dir: "ltr" }, one.text);
  if (one.kind !== "link") return element(TAGS[one.kind], {}, ...one.spans.map(span));
  const link = element("a", { href: one.href, target: "_blank", rel: "noopener noreferrer nofollow" });
  link.append(...one.spans.map(span));
  // Where a link leads is shown: its words may say something else.
  return one.shown ? link : element("span", {}, link, element("span", { class: "address", dir: "ltr" }, ` (${one.href})`));
}
