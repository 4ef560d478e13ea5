// What the browser keeps: conversations and settings in its storage, the API key until the tab is closed.
//
// A conversation is {id, title, named, created, updated, nodes, picks}. nodes: messages, each {parent, role, text, ...},
// parent: the index of the one before it, -1 for the first. Messages with the same parent are versions of one another:
// edited questions, further answers. picks: which of them is shown, by parent. So nothing is lost by editing.

const CHAT = "rbe-edge/chat/";
const SETTINGS = "rbe-edge/settings";
const KEY = "rbe-edge/key";
const DEFAULTS = { temperature: 0.7, maxTokens: 512, system: "", theme: "", model: "" };

let heldKey = ""; // where the browser keeps nothing for this page

function read(kind, name) {
  try {
    return window[kind].getItem(name);
  } catch {
    return null;
  }
}

// Returns whether the browser keeps it. value null: no longer.
function write(kind, name, value) {
  try {
    if (value === null) window[kind].removeItem(name);
    else window[kind].setItem(name, value);
    return true;
  } catch {
    return false;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// ---- settings and key ----

export function settings() {
  const kept = parsed(read("localStorage", SETTINGS)) || {};
  const found = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS)) if (typeof kept[name] === typeof DEFAULTS[name]) found[name] = kept[name];
  return found;
}

export function keepSettings(changed) {
  return write("localStorage", SETTINGS, JSON.stringify({ ...settings(), ...changed }));
}

export function key() {
  return read("sessionStorage", KEY) || heldKey;
}

export function keepKey(value) {
  heldKey = value;
  write("sessionStorage", KEY, value || null);
}

// ---- conversations ----

export function newConversation() {
  const letters = crypto.getRandomValues(new Uint32Array(3));
  const now = Date.now();
  const id = [...letters].map((number) => number.toString(36)).join("");
  return { id, title: "", named: false, created: now, updated: now, nodes: [], picks: {} };
}

// The latest first. What is no conversation stays in the storage and is not listed.
export function conversations() {
  let names = [];
  try {
    names = Object.keys(localStorage).filter((name) => name.startsWith(CHAT));
  } catch {
    // The browser keeps nothing for this page.
  }
  const found = names.map((name) => conversation(name.slice(CHAT.length))).filter(Boolean);
  return found.sort((a, b) => b.updated - a.updated);
}

export function conversation(id) {
  return checked(parsed(read("localStorage", CHAT + id)));
}

// Returns whether the browser keeps it: its storage may be full, or closed to this page.
export function keep(chat) {
  return write("localStorage", CHAT + chat.id, JSON.stringify(chat));
}

export function forget(id) {
  write("localStorage", CHAT + id, null);
}

export function isConversation(storageKey) {
  return storageKey === null || storageKey.startsWith(CHAT);
}

// A conversation that comes from a file or the storage, or null.
export function checked(value) {
  if (!value || typeof value.id !== "string" || !/^[\w-]{1,64}$/.test(value.id) || !Array.isArray(value.nodes)) return null;
  const sound = value.nodes.every(
    (node, index) =>
      node &&
      Number.isInteger(node.parent) &&
      node.parent >= -1 &&
      node.parent < index &&
      (node.role === "user" || node.role === "assistant") &&
      typeof node.text === "string"
  );
  if (!sound) return null;
  return { ...value, title: String(value.title || ""), updated: Number(value.updated) || 0, picks: Object(value.picks) };
}

// ---- messages ----

export function versions(chat, parent) {
  return chat.nodes.flatMap((node, index) => (node.parent === parent ? [index] : []));
}

// The indices of the messages that are shown.
export function shown(chat) {
  const children = new Map();
  chat.nodes.forEach((node, index) => {
    if (!children.has(node.parent)) children.set(node.parent, []);
    children.get(node.parent).push(index);
  });
  const found = [];
  let parent = -1;
  while (children.has(parent)) {
    const all = children.get(parent);
    parent = all.includes(chat.picks[parent]) ? chat.picks[parent] : all.at(-1);
    found.push(parent);
  }
  return found;
}

// Puts a message behind another and shows it. Returns its index.
export function add(chat, parent, role, text) {
  chat.nodes.push({ parent, role, text });
  chat.picks[parent] = chat.nodes.length - 1;
  chat.updated = Date.now();
  if (!chat.named && role === "user" && parent === -1) chat.title = titleOf(text);
  return chat.nodes.length - 1;
}

export function titleOf(text) {
  const line = text.trim().split(/\s+/).join(" ");
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

// As Markdown, for people.
export function asMarkdown(chat, model) {
  const parts = shown(chat).map((index) => {
    const node = chat.nodes[index];
    return `## ${node.role === "user" ? "You" : node.model || model}\n\n${node.text}\n`;
  });
  return `# ${chat.title || "Conversation"}\n\n${parts.join("\n")}`;
}
