// What a model says, as DOM nodes. Its text is only ever a text node: no HTML of it is parsed, no picture of it is loaded.

const DEPTH = 12;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\s]*)/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,11})([-*+]|\d{1,9}[.)])( +|$)/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const ESCAPED = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}_]/u;
const BARE = /^(?:https?:\/\/|mailto:)[^\s<>"'`\\^{}|]+/i;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", "#39": "'" };

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// The address of a link that may be followed; null for any other. Relative ones would lead into this server.
export function safeAddress(text) {
  const given = text.replace(/[\u0000-\u0020\u007f-\u00a0\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]/g, "");
  if (!/^(?:https?:\/\/|mailto:)/i.test(given)) return null;
  try {
    const url = new URL(given);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(address, children) {
  const attributes = { href: address, title: address, target: "_blank", rel: "noopener noreferrer nofollow ugc" };
  return el("a", attributes, ...children);
}

// ---- within a line

class Inline {
  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
    this.nodes = [];
    this.plain = "";
    this.missing = new Set(); // marks that have no second one further on
  }

  parse() {
    const { text } = this;
    let at = 0;
    while (at < text.length) {
      const next = this.depth > 0 ? this.special(at) : null;
      if (next !== null) {
        at = next;
      } else {
        this.plain += text[at];
        at += 1;
      }
    }
    this.flush();
    return this.nodes;
  }

  flush() {
    if (this.plain) this.nodes.push(document.createTextNode(this.plain));
    this.plain = "";
  }

  put(node, next) {
    this.flush();
    this.nodes.push(node);
    return next;
  }

  inner(text) {
    return new Inline(text, this.depth - 1).parse();
  }

  special(at) {
    const { text } = this;
    switch (text[at]) {
      case "\n":
        this.plain = this.plain.trimEnd();
        return this.put(el("br"), at + 1);
      case "\\":
        if (text[at + 1] === "\n") return this.put(el("br"), at + 2);
        if (text[at + 1] && ESCAPED.test(text[at + 1])) {
          this.plain += text[at + 1];
          return at + 2;
        }
        return null;
      case "`":
        return this.code(at);
      case "!":
        return text[at + 1] === "[" ? this.bracket(at + 1, true) : null;
      case "[":
        return this.bracket(at, false);
      case "<":
        return this.angle(at);
      case "&":
        return this.entity(at);
      case "*":
      case "_":
      case "~":
        return this.marked(at);
      case "h":
      case "H":
      case "m":
      case "M":
        return this.bare(at);
      default:
        return null;
    }
  }

  code(at) {
    const mark = /^`+/.exec(this.text.slice(at, at + 32))[0];
    const end = this.closing(mark, at + mark.length, (found) => {
      return this.text[found - 1] !== "`" && this.text[found + mark.length] !== "`";
    });
    if (end === -1) {
      this.plain += mark;
      return at + mark.length;
    }
    let inside = this.text.slice(at + mark.length, end).replace(/\n/g, " ");
    if (inside.startsWith(" ") && inside.endsWith(" ") && inside.trim()) inside = inside.slice(1, -1);
    return this.put(el("code", {}, inside), end + mark.length);
  }

  closing(mark, from, fits) {
    if (this.missing.has(mark)) return -1;
    let found = from;
    while ((found = this.text.indexOf(mark, found)) !== -1) {
      if (fits(found)) return found;
      found += 1;
    }
    this.missing.add(mark);
    return -1;
  }

  bracket(at, isPicture) {
    const { text } = this;
    const most = Math.min(text.length, at + 1000);
    let depth = 0;
    let end = at;
    for (; end < most; end += 1) {
      if (text[end] === "\\") end += 1;
      else if (text[end] === "[") depth += 1;
      else if (text[end] === "]" && (depth -= 1) === 0) break;
    }
    if (end >= most || text[end + 1] !== "(") return null;
    const target = /^\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s*\)/;
    const found = target.exec(text.slice(end + 1, end + 4001));
    if (found === null) return null;
    const address = safeAddress((found[1] ?? found[2]).replace(/\\([!-/:-@[-`{-~])/g, "$1"));
    const label = text.slice(at + 1, end);
    const next = end + 1 + found[0].length;
    if (address === null) {
      this.plain += text.slice(isPicture ? at - 1 : at, next);
      return next;
    }
    const shown = isPicture ? [`picture: ${label || address}`] : this.inner(label);
    return this.put(link(address, shown.length ? shown : [address]), next);
  }

  angle(at) {
    const rest = this.text.slice(at, at + 2000);
    const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/i.exec(rest);
    if (found) {
      const address = safeAddress(found[1].includes(":") ? found[1] : `mailto:${found[1]}`);
      if (address) return this.put(link(address, [found[1]]), at + found[0].length);
    }
    const broken = /^<br ?\/?>/i.exec(rest);
    return broken ? this.put(el("br"), at + broken[0].length) : null;
  }

  entity(at) {
    const found = /^&(#39|[a-z]{2,4});/.exec(this.text.slice(at, at + 8));
    if (found === null || !Object.hasOwn(ENTITIES, found[1])) return null;
    this.plain += ENTITIES[found[1]];
    return at + found[0].length;
  }

  bare(at) {
    if (at > 0 && WORD.test(this.text[at - 1])) return null;
    const found = BARE.exec(this.text.slice(at, at + 2000));
    if (found === null) return null;
    let address = found[0].replace(/[.,:;!?*_~\]]+$/, "");
    while (address.endsWith(")") && address.split(")").length > address.split("(").length) {
      address = address.slice(0, -1).replace(/[.,:;!?*_~\]]+$/, "");
    }
    const safe = safeAddress(address);
    return safe === null ? null : this.put(link(safe, [address]), at + address.length);
  }

  marked(at) {
    const { text } = this;
    const sign = text[at];
    const run = /^(.)\1*/.exec(text.slice(at, at + 8))[0].length;
    const width = Math.min(run, sign === "~" ? 2 : 3);
    const before = text[at - 1] ?? " ";
    const after = text[at + width] ?? " ";
    const mayOpen = !/\s/.test(after) && (sign === "*" || !WORD.test(before)) && !(sign === "~" && run !== 2);
    const mark = sign.repeat(width);
    const end = !mayOpen
      ? -1
      : this.closing(mark, at + width, (found) => {
          const next = text[found + width] ?? " ";
          if (found === at + width || /\s/.test(text[found - 1]) || text[found - 1] === "\\") return false;
          if (next === sign || (width < 3 && text[found - 1] === sign)) return false;
          return sign === "*" || !WORD.test(next);
        });
    if (end === -1) {
      this.plain += text.slice(at, at + run);
      return at + run;
    }
    const inside = this.inner(text.slice(at + width, end));
    const tag = sign === "~" ? "del" : width === 1 ? "em" : "strong";
    return this.put(el(tag, {}, ...(width === 3 ? [el("em", {}, ...inside)] : inside)), end + width);
  }
}

function inline(text, depth = DEPTH) {
  return new Inline(text.trim(), depth).parse();
}

// ---- lines

function isBreak(line, next) {
  return (
    FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || isTable(line, next) ||
    /^ {0,3}(?:[-*+]|1[.)]) +\S/.test(line)
  );
}

function isTable(line, next) {
  if (next === undefined || !line.includes("|") || !DIVIDER.test(next) || !next.includes("-")) return false;
  return cells(line).length === cells(next).length;
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

// The blocks that lines make: how many lines each takes, and what draws it.
function* blocksOf(lines, depth) {
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const block = blockAt(lines, at, depth);
    yield { from: at, to: block.to, draw: block.draw };
    at = block.to;
  }
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return fenced(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return { to: at + 1, draw: () => el(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2])) };
  if (RULE.test(line)) return { to: at + 1, draw: () => el("hr") };
  if (depth > 0 && QUOTE.test(line)) return quoted(lines, at, depth);
  if (depth > 0 && ITEM.test(line)) return listed(lines, at, depth);
  if (isTable(line, lines[at + 1])) return tabled(lines, at);
  let to = at + 1;
  while (to < lines.length && lines[to].trim() && !isBreak(lines[to], lines[to + 1])) to += 1;
  const text = lines.slice(at, to).map((each) => each.trimStart()).join("\n");
  return { to, draw: () => el("p", {}, ...inline(text)) };
}

function fenced(lines, at, [, mark, language]) {
  let to = at + 1;
  const isEnd = (line) => /^ {0,3}(`{3,}|~{3,})[ \t]*$/.test(line) && line.trim().startsWith(mark);
  while (to < lines.length && !isEnd(lines[to])) to += 1;
  const indent = /^ */.exec(lines[at])[0].length;
  const code = lines.slice(at + 1, to).map((line) => line.replace(new RegExp(`^ {0,${indent}}`), "")).join("\n");
  return { to: Math.min(lines.length, to + 1), draw: () => codeBlock(code, language) };
}

export function codeBlock(code, language = "") {
  const copy = el("button", { type: "button", class: "copy", "data-copy": true, "aria-label": "Copy the code" }, "Copy");
  const bar = el("div", { class: "bar" }, el("span", {}, language.slice(0, 40)), copy);
  return el("div", { class: "code" }, bar, el("pre", { tabindex: "0" }, el("code", {}, code)));
}

function quoted(lines, at, depth) {
  let to = at;
  while (to < lines.length && lines[to].trim() && (QUOTE.test(lines[to]) || !isBreak(lines[to], lines[to + 1]))) to += 1;
  const inside = lines.slice(at, to).map((line) => line.replace(QUOTE, ""));
  return { to, draw: () => el("blockquote", {}, ...drawn(inside, depth - 1)) };
}

function listed(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(first[2]);
  const base = first[1].length;
  const items = [];
  let isLoose = false;
  let to = at;
  while (to < lines.length) {
    const line = lines[to];
    const item = ITEM.exec(line);
    const indent = /^ */.exec(line)[0].length;
    if (item && item[1].length <= base + 1 && !RULE.test(line)) {
      if (/\d/.test(item[2]) !== isOrdered) break;
      const width = item[0].length;
      items.push({ width: Math.min(width, item[1].length + item[2].length + 4), lines: [line.slice(width)] });
    } else if (!line.trim()) {
      const next = lines[to + 1];
      const goesOn = next !== undefined && next.trim() && (/^ */.exec(next)[0].length > base || ITEM.test(next));
      if (!goesOn) break;
      items.at(-1).lines.push("");
      isLoose = true;
    } else if (indent > base) {
      items.at(-1).lines.push(line.slice(Math.min(indent, items.at(-1).width)));
    } else if (lines[to - 1].trim() && !isBreak(line, lines[to + 1])) {
      items.at(-1).lines.push(line);
    } else {
      break;
    }
    to += 1;
  }
  const start = isOrdered ? Number.parseInt(first[2], 10) : 1;
  const draw = () => {
    const attributes = isOrdered && start !== 1 ? { start: String(start) } : {};
    return el(isOrdered ? "ol" : "ul", attributes, ...items.map((item) => itemOf(item.lines, isLoose, depth - 1)));
  };
  return { to, draw };
}

function itemOf(lines, isLoose, depth) {
  const task = /^\[([ xX])\] +/.exec(lines[0]);
  const nodes = drawn(task ? [lines[0].slice(task[0].length), ...lines.slice(1)] : lines, depth);
  const inside = nodes.flatMap((node) => (!isLoose && node.nodeName === "P" ? [...node.childNodes] : [node]));
  if (!task) return el("li", {}, ...inside);
  const box = el("input", { type: "checkbox", disabled: true, checked: task[1] !== " ", "aria-label": "done" });
  return el("li", { class: "task" }, box, ...inside);
}

function tabled(lines, at) {
  let to = at + 2;
  while (to < lines.length && lines[to].trim() && lines[to].includes("|")) to += 1;
  const draw = () => {
    const sides = cells(lines[at + 1]).map((cell) => {
      return cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left";
    });
    const row = (line, tag) => {
      const found = cells(line);
      return el("tr", {}, ...sides.map((side, index) => el(tag, { class: side }, ...inline(found[index] ?? ""))));
    };
    const body = el("tbody", {}, ...lines.slice(at + 2, to).map((line) => row(line, "td")));
    return el("div", { class: "table", tabindex: "0" }, el("table", {}, el("thead", {}, row(lines[at], "th")), body));
  };
  return { to, draw };
}

function drawn(lines, depth) {
  return [...blocksOf(lines, depth)].map((block) => block.draw());
}

// A text that grows: only the blocks that have changed are drawn anew.
export class Markdown {
  constructor() {
    this.node = el("div", { class: "said", dir: "auto" });
    this.sources = [];
  }

  update(text) {
    const lines = text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n");
    let index = 0;
    for (const block of blocksOf(lines, DEPTH)) {
      const source = lines.slice(block.from, block.to).join("\n");
      if (this.sources[index] !== source) {
        const node = block.draw();
        const old = this.node.children[index];
        if (old) old.replaceWith(node);
        else this.node.append(node);
        this.sources[index] = source;
      }
      index += 1;
    }
    while (this.node.children.length > index) this.node.lastElementChild.remove();
    this.sources.length = index;
  }
}
