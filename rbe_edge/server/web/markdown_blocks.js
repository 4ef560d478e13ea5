// Markdown into blocks: what a text is made of, as far as it has come. Nothing of the text is left out but marks that
// become form (`#`, `>`, fences, the pipes of tables). What is no Markdown stays a paragraph.
//
// blocks(text) gives a list of
//   {kind: "paragraph" | "code" | "heading" | "rule" | "quote" | "list" | "table", source, ...}
// source: the lines of the block, so that a block that is the same as before need not be drawn again.

const DEEPEST = 12; // quotes and lists in each other; deeper ones stay text

const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(\S.*)$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const ITEM = /^( *)([-*+]|(?:0|[1-9]\d{0,8})[.)])(?:( +)(.*)|)$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

export function blocks(text) {
  return parse(text.replace(/\r\n?/g, "\n").split("\n").map(withoutTabs), 0);
}

function withoutTabs(line) {
  return line.replace(/^[ \t]+/, (start) => start.replace(/\t/g, "    "));
}

function parse(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, next] = blockAt(lines, at, depth);
    block.source = lines.slice(at, next).join("\n");
    found.push(block);
    at = next;
  }
  return found;
}

function blockAt(lines, at, depth) {
  return (
    fence(lines, at) ||
    heading(lines, at) ||
    (RULE.test(lines[at]) && [{ kind: "rule" }, at + 1]) ||
    (depth < DEEPEST && (quote(lines, at, depth) || list(lines, at, depth))) ||
    table(lines, at) ||
    paragraph(lines, at)
  );
}

function fence(lines, at) {
  const opening = FENCE.exec(lines[at]);
  if (!opening) return null;
  const [, mark, info] = opening;
  const indent = lines[at].search(/\S/);
  const closing = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}[ \\t]*$`);
  const body = [];
  let next = at + 1;
  while (next < lines.length && !closing.test(lines[next])) {
    body.push(dedented(lines[next], indent));
    next += 1;
  }
  return [{ kind: "code", info: info.trim(), text: body.join("\n") }, Math.min(next + 1, lines.length)];
}

function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  return found && [{ kind: "heading", level: found[1].length, text: found[2] }, at + 1];
}

function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at])) return null;
  const inner = [];
  let next = at;
  for (; next < lines.length; next++) {
    const found = QUOTE.exec(lines[next]);
    if (found) inner.push(found[1]);
    else if (lines[next].trim() && inner[inner.length - 1].trim() && !interrupts(lines, next)) inner.push(lines[next]);
    else break;
  }
  if (!inner.some((line) => line.trim())) return [{ kind: "paragraph", text: lines.slice(at, next).join("\n") }, next];
  return [{ kind: "quote", blocks: parse(inner, depth + 1) }, next];
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first || first[1].length > 3) return null;
  const type = first[2].slice(-1); // the bullet, or the mark behind a number
  const block = { kind: "list", ordered: /\d/.test(first[2]), loose: false, items: [] };
  let next = at;
  while (next < lines.length) {
    const found = ITEM.exec(lines[next]);
    if (!found || found[1].length > 3 || found[2].slice(-1) !== type || RULE.test(lines[next])) break;
    const [item, end] = listItem(lines, next, found, depth);
    block.items.push(item);
    block.loose ||= item.loose;
    let ahead = end;
    while (ahead < lines.length && !lines[ahead].trim()) ahead += 1;
    const follows = ahead < lines.length && ITEM.exec(lines[ahead]);
    if (ahead > end && follows && follows[1].length <= 3 && follows[2].slice(-1) === type) {
      block.loose = true;
      next = ahead;
    } else next = end;
    if (ahead > end && next === end) break;
  }
  return [block, next];
}

// One item: its own line, what is indented below it, and lines that go on with its paragraph.
function listItem(lines, at, found, depth) {
  const [, before, mark, spaces = "", rest = ""] = found;
  const wide = spaces.length > 4 || !rest;
  const indent = before.length + mark.length + (wide ? 1 : spaces.length);
  const inner = [(wide ? " ".repeat(Math.max(spaces.length - 1, 0)) : "") + rest];
  let next = at + 1;
  let end = next; // behind the last line that is not blank
  for (; next < lines.length; next++) {
    const line = lines[next];
    if (!line.trim()) {
      inner.push("");
      continue;
    }
    const deep = line.search(/\S/);
    const nested = ITEM.test(line) && deep >= before.length + 2; // many write two spaces below "1. "
    const lazy = end === next && deep < indent && !interrupts(lines, next) && !ITEM.test(line);
    if (deep < indent && !nested && !lazy) break;
    inner.push(dedented(line, indent));
    end = next + 1;
  }
  const kept = inner.slice(0, end - at);
  const task = /^\[([ xX])\] +(?=\S)/.exec(kept[0]);
  if (task) kept[0] = kept[0].slice(task[0].length);
  return [
    {
      number: parseInt(mark, 10),
      done: task ? task[1] !== " " : null,
      loose: kept.some((line, index) => !line.trim() && index > 0),
      blocks: parse(kept, depth + 1),
    },
    end,
  ];
}

function table(lines, at) {
  if (!lines[at].includes("|") || at + 1 >= lines.length || !DELIMITERS.test(lines[at + 1])) return null;
  const head = cells(lines[at]);
  const marks = cells(lines[at + 1]);
  if (head.length !== marks.length || !(lines[at + 1].includes("|") || head.length > 1)) return null;
  const align = marks.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "end") : ""));
  const rows = [];
  let next = at + 2;
  while (next < lines.length && lines[next].trim() && !interrupts(lines, next)) rows.push(cells(lines[next++]));
  return [{ kind: "table", head, align, rows }, next];
}

// Of a row, without the outer pipes. A pipe behind a backslash is text.
function cells(line) {
  const parts = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return parts.split(/(?<!\\)\|/).map((cell) => cell.replace(/\\\|/g, "|").trim());
}

// Its lines stay as they are: many write verses, addresses and even code without a mark.
function paragraph(lines, at) {
  let next = at + 1;
  while (next < lines.length && lines[next].trim() && !interrupts(lines, next) && !table(lines, next)) next += 1;
  return [{ kind: "paragraph", text: lines.slice(at, next).join("\n") }, next];
}

// Whether a block begins here even if no blank line is before it.
function interrupts(lines, at) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return Boolean(item && item[1].length <= 3 && item[4] && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1));
}

function dedented(line, indent) {
  return line.slice(Math.min(indent, Math.max(line.search(/\S|$/), 0)));
}
