// The marks inside a paragraph: code, emphasis, links. spans(text) gives a list of
//   {kind: "text", text} | {kind: "code", text} | {kind: "emphasis" | "strong" | "struck", spans}
//   | {kind: "link", href, spans, shown}   shown: the words are the address itself
// An address that is not of the web or of mail makes no link: the text stays as it was written.

const DEEPEST = 20; // marks in each other; deeper ones are left out, their words stay
const ESCAPED = /[!"#$%&'*+,\-./:;<=>?@\\^_`|~]/; // not brackets: `\[` and `\(` begin formulas
const ADDRESS = /https?:\/\/[^\s<>"`]+/y;
const TARGET = /\(<?((?:[^\s()<>]|\([^\s()<>]*\))+)>?\)/y;
const SAFE = /^(?:https?:\/\/|mailto:)[^\s]/i;
const SPACE = /^$|\s/;
const MARK = /^[\p{P}\p{S}]/u;

export function spans(text) {
  return tree(matched(tokens(text)));
}

// A flat list: texts, finished spans, and runs of `*`, `_` and `~` that may open or close something.
function tokens(text) {
  const found = [];
  const missing = new Set();
  const brackets = []; // where a link may have begun
  let word = "";
  const flush = () => {
    if (word) found.push({ kind: "text", text: word });
    word = "";
  };
  const push = (token) => {
    flush();
    found.push(token);
  };
  for (let at = 0; at < text.length; ) {
    const letter = text[at];
    let match;
    if (letter === "\\" && ESCAPED.test(text[at + 1] || "")) {
      word += text[at + 1];
      at += 2;
    } else if (letter === "`") {
      const [size, close] = codeEnd(text, at, missing);
      if (close < 0) word += text.slice(at, at + size);
      else push({ kind: "code", text: codeText(text.slice(at + size, close)) });
      at = close < 0 ? at + size : close + size;
    } else if (letter === "h" && !/\w/.test(text[at - 1] || "") && (match = sticky(ADDRESS, text, at))) {
      const href = withoutPunctuation(match[0]);
      push({ kind: "link", href, shown: true, spans: [{ kind: "text", text: href }] });
      at += href.length;
    } else if (letter === "*" || letter === "_" || letter === "~") {
      let size = 1;
      while (text[at + size] === letter) size += 1;
      push(run(letter, size, before(text, at), behind(text, at + size)));
      at += size;
    } else if (letter === "[") {
      flush();
      brackets.push(found.length);
      word = "[";
      flush();
      at += 1;
    } else if (letter === "]" && brackets.length && (match = sticky(TARGET, text, at + 1)) && SAFE.test(match[1])) {
      flush();
      link(found, brackets.pop(), match[1]);
      brackets.length = 0; // no link holds another
      at += 1 + match[0].length;
    } else {
      if (letter === "]") brackets.pop();
      word += letter;
      at += 1;
    }
  }
  flush();
  return found;
}

function sticky(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

// The characters before and at a place; "" at an end.
const before = (text, at) => [...text.slice(Math.max(at - 2, 0), at)].pop() || "";
const behind = (text, at) => [...text.slice(at, at + 2)][0] || "";

// A run of backticks ends at the next of its length. missing: lengths that no further run has.
function codeEnd(text, at, missing) {
  const size = sticky(/`+/y, text, at)[0].length;
  if (missing.has(size)) return [size, -1];
  const found = new RegExp(`(?<!\`)\`{${size}}(?!\`)`, "g");
  found.lastIndex = at + size;
  const close = found.exec(text)?.index ?? -1;
  if (close < 0) missing.add(size);
  return [size, close];
}

function codeText(text) {
  const line = text.replace(/\n/g, " ");
  return /^ .* $/.test(line) && line.trim() ? line.slice(1, -1) : line;
}

// An address ends before the punctuation of its sentence, and before a bracket that it does not open.
function withoutPunctuation(found) {
  let opened = found.split("(").length - found.split(")").length;
  let end = found.length;
  while (".,;:!?'*_~]})".includes(found[end - 1]) && (found[end - 1] !== ")" || opened < 0)) {
    if (found[end - 1] === ")") opened += 1;
    end -= 1;
  }
  return found.slice(0, end);
}

// What came since the bracket becomes the words of a link.
function link(found, start, href) {
  const inner = tree(matched(found.splice(start).slice(1)));
  found.push({ kind: "link", href, shown: inner.length === 1 && inner[0].text === href, spans: inner });
}

// CommonMark's rules of what a run may do, by the characters around it.
function run(letter, size, before, after) {
  const left = !SPACE.test(after) && (!MARK.test(after) || SPACE.test(before) || MARK.test(before));
  const right = !SPACE.test(before) && (!MARK.test(before) || SPACE.test(after) || MARK.test(after));
  const inWord = letter === "_";
  return {
    kind: "run",
    letter,
    size,
    left: size,
    opens: left && (!inWord || !right || MARK.test(before)),
    closes: right && (!inWord || !left || MARK.test(after)),
    starts: [], // of spans that open here, the outermost first
    ends: [], // of spans that close here, the innermost first
  };
}

// Finds which runs belong together. Each closing run looks back; how far is remembered, so that it stays linear.
function matched(list) {
  const openers = [];
  const bottoms = new Map();
  list.forEach((token, place) => {
    if (token.kind !== "run") return;
    token.place = place;
    while (token.closes && token.left) {
      const key = token.letter === "~" ? `~${token.size}` : token.letter;
      const bottom = bottoms.get(key) || 0;
      let at = openers.length - 1;
      while (at >= bottom && !fits(openers[at], token)) at -= 1;
      if (at < bottom) {
        bottoms.set(key, openers.length);
        break;
      }
      const opener = openers[at];
      const used = token.letter === "~" ? token.left : Math.min(opener.left, token.left, 2);
      const kind = token.letter === "~" ? "struck" : used === 2 ? "strong" : "emphasis";
      opener.starts.unshift(kind);
      token.ends.push(kind);
      opener.left -= used;
      token.left -= used;
      openers.length = opener.left ? at + 1 : at;
      for (const [name, value] of bottoms) if (value > openers.length) bottoms.set(name, openers.length);
    }
    if (token.opens && token.left) openers.push(token);
  });
  return list;
}

function fits(opener, closer) {
  return opener.letter === closer.letter && (closer.letter !== "~" || (opener.size === closer.size && closer.size < 3));
}

function tree(list) {
  const root = [];
  const stack = [root];
  let skipped = 0;
  for (const token of list) {
    if (token.kind !== "run") {
      stack.at(-1).push(token);
      continue;
    }
    for (let n = 0; n < token.ends.length; n++) {
      if (skipped) skipped -= 1;
      else stack.pop();
    }
    if (token.left) stack.at(-1).push({ kind: "text", text: token.letter.repeat(token.left) });
    for (const kind of token.starts) {
      if (stack.length > DEEPEST) skipped += 1;
      else {
        const span = { kind, spans: [] };
        stack.at(-1).push(span);
        stack.push(span.spans);
      }
    }
  }
  return root;
}
