// The page: what is drawn, and what keys and buttons do.

import { agents, chunks, conversations, fold, newAnswer, newConversation } from "./conversation.js";
import { options, Problem, secrets, waiting } from "./conversation.js";
import { el, Markdown } from "./markdown.js";

const $ = (id) => document.getElementById(id);
const log = $("log");
const ask = $("ask");
const running = new Map(); // by conversation: what stops it
let shown = []; // what draws each turn, in order
let current = newConversation(null);
let key = secrets.get("key");
let isAtEnd = true;

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

function button(name, label, onclick, attributes = {}) {
  return el("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

function toast(text, label = null, action = null) {
  const undo = action && el("button", { type: "button", onclick: () => (action(), ($("toast").hidden = true)) }, label);
  $("toast").replaceChildren(text, ...(undo ? [" ", undo] : []));
  $("toast").hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => ($("toast").hidden = true), 6000);
}

async function copy(text, from) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch {
    toast("The browser does not let this page copy.");
  }
  from?.focus();
}

function seconds(value) {
  if (value < 0.0995) return `${Math.max(1, Math.round(value * 1000))} ms`;
  return value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

// ---- parts of an answer

function shortOf(text) {
  let value = text;
  try {
    value = JSON.parse(text);
  } catch {
    // it is shown as it came
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) return oneLine(String(text));
  return oneLine(Object.entries(value).map(([name, each]) => `${name}: ${plain(each)}`).join(", "));
}

function oneLine(text) {
  return text.replace(/\s+/g, " ").trim().slice(0, 200);
}

function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function pretty(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "string" ? value : JSON.stringify(value, null, 2);
  } catch {
    return text;
  }
}

const STATUS = {
  ok: ["done", "done"],
  failed: ["wrong", "failed"],
  denied: ["wrong", "denied"],
  not_run: ["wrong", "not run"],
  cancelled: ["wrong", "stopped"],
  dropped: ["wrong", "dropped"],
};

class StepCard {
  constructor() {
    this.mark = el("span", { class: "mark" });
    this.name = el("strong");
    this.short = el("span", { class: "short" });
    this.time = el("span", { class: "time" });
    this.arguments = el("pre", { tabindex: "0" });
    this.label = el("h4", {}, "Result");
    this.told = el("pre", { tabindex: "0" });
    this.inner = el("div", { class: "inner" });
    this.cards = [];
    const summary = el("summary", {}, this.mark, this.name, this.short, this.time, el("span", { class: "turn" }, icon("more")));
    const body = el("div", { class: "body" }, el("h4", {}, "Arguments"), this.arguments, this.inner, this.label, this.told);
    this.node = el("details", { class: "step" }, summary, body);
  }

  update(part, isOver) {
    const over = part.status ?? (isOver ? "cancelled" : null);
    const [sign, words] = STATUS[over] ?? ["done", over];
    const state = over === null ? "runs" : over === "ok" ? "ok" : "bad";
    if (this.state !== state) {
      this.mark.replaceChildren(over === null ? el("span", { class: "spin" }) : icon(sign));
      this.mark.append(el("span", { class: "unseen" }, over === null ? "runs: " : `${words}: `));
      this.node.dataset.state = this.state = state;
    }
    this.name.textContent = part.name;
    this.short.textContent = shortOf(part.arguments);
    const time = part.seconds === undefined || part.seconds === null ? "" : seconds(part.seconds);
    this.time.textContent = state === "bad" ? [words, time].filter(Boolean).join(", ") : time;
    this.arguments.textContent = pretty(part.arguments);
    this.label.textContent = over === null ? "So far" : "Result";
    this.label.hidden = this.told.hidden = !part.told;
    this.told.textContent = pretty(part.told);
    part.inner.forEach((each, index) => {
      if (!this.cards[index]) this.inner.append((this.cards[index] = viewOf(each)).node);
      this.cards[index].update(each, isOver || over !== null);
    });
    this.inner.hidden = !part.inner.length;
  }
}

class Thought {
  constructor() {
    this.label = el("span");
    this.text = el("div", { class: "thought", dir: "auto" });
    this.node = el("details", { class: "reasoning" }, el("summary", {}, this.label, icon("more")), this.text);
  }

  update(part, isOver) {
    const took = (part.until - part.at) / 1000;
    this.label.textContent = isOver ? (took >= 0.95 ? `Thought for ${seconds(took)}` : "Thought") : "Thinking";
    this.text.textContent = part.text.trim();
  }
}

class Said {
  constructor() {
    this.text = new Markdown();
    this.node = this.text.node;
    this.length = -1;
  }

  update(part) {
    if (part.text.length === this.length) return;
    this.length = part.text.length;
    this.text.update(part.text);
  }
}

class Note {
  constructor() {
    this.node = el("p", { class: "note" });
  }

  update(part) {
    this.node.textContent = part.kind === "agent" ? `${part.name} goes on.` : part.text;
  }
}

function viewOf(part) {
  const kinds = { text: Said, reasoning: Thought, step: StepCard };
  return new (kinds[part.kind] ?? Note)();
}

// ---- turns

class QuestionView {
  constructor(turn, index) {
    this.turn = turn;
    this.index = index;
    this.node = el("article", { class: "question", "aria-label": "You" });
    this.draw();
  }

  draw() {
    const actions = el(
      "div",
      { class: "actions" },
      button("edit", "Edit and ask again", () => this.edit()),
      button("copy", "Copy", (event) => copy(this.turn.message.content, event.currentTarget)),
    );
    this.node.replaceChildren(el("div", { class: "bubble", dir: "auto" }, this.turn.message.content), actions);
  }

  edit() {
    if (running.has(current.id)) return;
    const box = el("textarea", { "aria-label": "Edit your question" });
    box.value = this.turn.message.content;
    const leave = () => (this.draw(), ask.focus());
    const send = () => box.value.trim() && askAgain(this.index, box.value.trim());
    const cancel = el("button", { type: "button", onclick: leave }, "Leave it");
    const sender = el("button", { type: "button", class: "main", onclick: send }, "Ask again");
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        leave();
      }
    });
    box.addEventListener("input", () => fit(box));
    this.node.replaceChildren(el("div", { class: "editing" }, box, el("div", { class: "row end" }, cancel, sender)));
    fit(box);
    box.focus();
  }

  update() {}
}

class AnswerView {
  constructor(turn, index) {
    this.turn = turn;
    this.index = index;
    this.parts = el("div", { class: "parts" });
    this.wait = el("p", { class: "wait" }, el("span", { class: "dots" }, el("i"), el("i"), el("i")), el("span"));
    this.after = el("div", { class: "after" });
    this.node = el("article", { class: "answer", "aria-label": "Answer", tabindex: "-1" }, this.parts, this.wait, this.after);
    this.views = [];
    this.told = new Set();
    this.drawn = "";
  }

  update() {
    const { view } = this.turn;
    const isOver = view.state !== "running";
    view.parts.forEach((part, index) => {
      const isNew = !this.views[index];
      if (isNew) {
        this.views[index] = viewOf(part);
        this.parts.append(this.views[index].node);
      }
      const isLast = index === view.parts.length - 1;
      // what is settled does not change any more; a call may end after later ones have begun
      if (isNew || isLast || isOver || part.kind === "step" || index >= this.views.length - 2) {
        this.views[index].update(part, isOver || (!isLast && part.kind !== "step"));
      }
      if (part.kind === "text") this.announce(this.views[index].node, isOver || !isLast);
    });
    const works = view.parts.at(-1)?.kind === "step" && view.parts.at(-1).status === null;
    this.wait.hidden = isOver || works || view.parts.at(-1)?.kind === "text";
    this.wait.lastChild.textContent = view.waits ? `The model is asked again in ${seconds(view.waits)}` : "";
    this.node.setAttribute("aria-busy", String(!isOver));
    const next = current.turns[this.index + 1];
    const key = JSON.stringify([view.state, view.problem, view.decisions, Boolean(next), this.isLast()]);
    if (key !== this.drawn) {
      this.drawn = key;
      this.after.replaceChildren(...(isOver ? this.ending() : []));
    }
  }

  // Screen readers are told a paragraph once it is whole; what a conversation had before is not read out.
  announce(node, isWhole) {
    const whole = isWhole ? node.children.length : node.children.length - 1;
    for (const block of [...node.children].slice(0, Math.max(0, whole))) {
      if (this.told.has(block)) continue;
      this.told.add(block);
      if (running.has(current.id)) $("said").append(el("p", {}, block.textContent));
    }
  }

  isLast() {
    return this.index === current.turns.length - 1;
  }

  ending() {
    const { message, view } = this.turn;
    const nodes = waiting(this.turn).map((call) => this.decision(call));
    const words = {
      stopped: "Stopped.",
      broken: "It was broken off.",
    };
    const reasons = {
      length: "The answer was cut off: it reached the most tokens that it may have.",
      content_filter: "A content filter stopped the answer.",
    };
    if (words[view.state]) nodes.push(el("p", { class: "note" }, words[view.state]));
    if (view.state === "done" && reasons[view.reason]) nodes.push(el("p", { class: "note" }, reasons[view.reason]));
    if (view.state === "done" && !view.parts.length && !nodes.length) nodes.push(el("p", { class: "note" }, "An empty answer."));
    if (view.problem) nodes.push(this.problem());
    if (!waiting(this.turn).length) {
      const facts = [];
      if (view.tokens) facts.push(`${(view.tokens[0] + view.tokens[1]).toLocaleString("en")} tokens`);
      if (view.seconds !== null) facts.push(seconds(view.seconds));
      const actions = el("div", { class: "actions" });
      if (message.content) actions.append(button("copy", "Copy the answer", (event) => copy(message.content, event.currentTarget)));
      if (this.isLast() && !view.problem) actions.append(button("again", "Ask again (Alt+R)", () => retry()));
      actions.append(el("span", { class: "facts", title: view.tokens ? `${view.tokens[0]} in, ${view.tokens[1]} out` : null }, facts.join(" · ")));
      nodes.push(actions);
    }
    return nodes;
  }

  problem() {
    const { message, view } = this.turn;
    const again = el("button", { type: "button", onclick: () => repeat() }, "Try again");
    const buttons = this.isLast() ? [again] : [];
    if (this.isLast() && message.agentkit_state) {
      buttons.unshift(el("button", { type: "button", class: "main", onclick: () => resume() }, "Go on"));
    }
    if (this.isLast() && view.problem.status === 401) {
      buttons.unshift(el("button", { type: "button", class: "main", onclick: () => unlock() }, "Give a key"));
    }
    return el("div", { class: "problem", role: "alert" }, el("p", {}, view.problem.message), el("div", { class: "row" }, ...buttons));
  }

  decision(call) {
    const decided = this.turn.view.decisions[call.id];
    const isOpen = this.isLast() && decided === undefined;
    const asks = {
      approval: "needs your approval",
      answer: "waits for your answer",
      unknown: "may have run: what came of it was lost",
    };
    const label = `${call.name} ${asks[call.hold] ?? asks.approval}`;
    const head = el("p", { class: "what" }, icon("tool"), el("span", {}, el("strong", {}, call.name), ` ${asks[call.hold] ?? asks.approval}`));
    const card = el("div", { class: "decision", role: "group", "aria-label": label, tabindex: "-1" }, head, listOf(call.arguments));
    if (!isOpen) {
      card.append(el("p", { class: "note" }, decided === undefined ? "Nothing was decided." : wordsOf(decided)));
      return card;
    }
    const decide = (decision) => {
      this.turn.view.decisions[call.id] = decision;
      goOn(this.turn);
    };
    card.append(...(call.hold === "answer" ? answering(call, decide) : approving(call, decide)));
    return card;
  }

  focusDecision() {
    this.after.querySelector(".decision:has(button)")?.focus();
  }
}

function listOf(given) {
  if (given === null || typeof given !== "object" || Array.isArray(given)) return el("pre", { tabindex: "0" }, plain(given ?? ""));
  const rows = Object.entries(given).map(([name, value]) => {
    const isShort = value === null || typeof value !== "object";
    return el("div", {}, el("dt", {}, name), el("dd", { dir: "auto" }, isShort ? plain(value) : JSON.stringify(value, null, 2)));
  });
  return rows.length ? el("dl", {}, ...rows) : el("p", { class: "note" }, "without arguments");
}

function wordsOf(decision) {
  if (decision.decision === "approve") return decision.arguments ? "Approved, with other arguments." : "Approved.";
  if (decision.decision === "answer") return `Answered: ${plain(decision.value)}`;
  return decision.reason ? `Denied: ${decision.reason}` : "Denied.";
}

function approving(call, decide) {
  const why = el("input", { type: "text", placeholder: "Why not (if you like)", "aria-label": `Why not ${call.name}` });
  const box = el("textarea", { "aria-label": `Arguments of ${call.name}, as JSON`, spellcheck: "false" });
  box.value = JSON.stringify(call.arguments, null, 2);
  const wrong = el("p", { class: "note", role: "alert", hidden: true }, "The arguments have to be a JSON object.");
  const approve = () => {
    if (box.value === JSON.stringify(call.arguments, null, 2)) return decide({ decision: "approve" });
    try {
      const given = JSON.parse(box.value);
      if (given === null || typeof given !== "object" || Array.isArray(given)) throw new SyntaxError();
      return decide({ decision: "approve", arguments: given });
    } catch {
      wrong.hidden = false;
      return box.focus();
    }
  };
  const deny = () => decide({ decision: "deny", ...(why.value.trim() ? { reason: why.value.trim() } : {}) });
  why.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) deny();
  });
  const change = el("details", { class: "change" }, el("summary", {}, "Change the arguments"), box, wrong);
  change.addEventListener("toggle", () => fit(box));
  const yes = call.hold === "unknown" ? "Run it again" : "Approve";
  return [
    change,
    el(
      "div",
      { class: "row" },
      el("button", { type: "button", class: "main", "data-key": "a", onclick: approve }, yes),
      el("button", { type: "button", "data-key": "d", onclick: deny }, "Deny"),
      why,
    ),
  ];
}

function answering(call, decide) {
  const box = el("textarea", { "aria-label": `The result of ${call.name}`, placeholder: "Its result" });
  const give = () => decide({ decision: "answer", value: box.value });
  box.addEventListener("input", () => fit(box));
  const row = el(
    "div",
    { class: "row" },
    el("button", { type: "button", class: "main", onclick: give }, "Answer"),
    el("button", { type: "button", "data-key": "d", onclick: () => decide({ decision: "deny" }) }, "Deny"),
  );
  return [box, row];
}

// ---- the conversation

function draw() {
  shown = [];
  log.replaceChildren();
  $("said").replaceChildren();
  update();
  toEnd();
}

function update() {
  // what came before the last question stays as it is
  const settled = current.turns.findLastIndex((turn) => turn.message.role === "user");
  current.turns.forEach((turn, index) => {
    if (!turn.view && turn.message.role !== "user") return;
    const isNew = !shown[index];
    if (isNew) {
      shown[index] = new (turn.message.role === "user" ? QuestionView : AnswerView)(turn, index);
      log.append(shown[index].node);
    }
    if (isNew || index >= settled) shown[index].update();
  });
  const isRunning = running.has(current.id);
  $("send").replaceChildren(icon(isRunning ? "stop" : "send"));
  $("send").setAttribute("aria-label", isRunning ? "Stop" : "Send");
  $("send").title = isRunning ? "Stop (Esc)" : "Send (Enter)";
  $("send").disabled = !isRunning && (!ask.value.trim() || !current.model);
  $("title").textContent = current.title || "New conversation";
  document.title = current.title ? `${current.title} · ${current.model}` : (current.model ?? "Chat");
  document.body.classList.toggle("empty", !current.turns.length);
  if (!current.turns.length && !log.querySelector(".hello")) {
    const text = current.model ? `What would you like to ask ${current.model}?` : "";
    log.replaceChildren(el("div", { class: "hello" }, el("p", {}, text)));
  } else if (current.turns.length) {
    log.querySelector(".hello")?.remove();
  }
  if (isAtEnd) toEnd();
}

function toEnd() {
  isAtEnd = true;
  log.scrollTop = log.scrollHeight;
  $("latest").hidden = true;
}

let frame = 0;
function soon(conversation) {
  if (conversation !== current || frame) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    update();
  });
}

function save(conversation) {
  const { kept, dropped } = conversations.save(conversation);
  if (!kept) toast("There is no room in this browser: this conversation is not kept.");
  else if (dropped) toast(`There was no room left: ${dropped === 1 ? "the oldest conversation is" : `${dropped} old conversations are`} gone.`);
  drawList();
}

function say(text) {
  if (running.has(current.id)) return;
  if (!current.turns.length) current.title = oneLine(text).slice(0, 80);
  current.turns.push({ message: { role: "user", content: text } });
  answer(current);
}

async function answer(conversation) {
  const turn = newAnswer();
  const messages = conversation.turns.map((each) => each.message);
  const controller = new AbortController();
  conversation.turns.push(turn);
  running.set(conversation.id, controller);
  save(conversation);
  if (conversation === current) {
    $("said").replaceChildren();
    isAtEnd = true;
    update();
  }
  let saved = Date.now();
  try {
    for await (const chunk of chunks(conversation.model, messages, key, controller.signal)) {
      fold(turn, chunk);
      soon(conversation);
      if (Date.now() - saved > 2000) {
        saved = Date.now();
        save(conversation);
      }
    }
    turn.view.state = "done";
  } catch (error) {
    if (error.status === 400 && messages.at(-1).role === "assistant") {
      // where the server cannot open what was done, the model is asked to go on from what can be seen
      conversation.turns.pop();
      if (conversation === current) redrawn();
      conversation.turns.push({ message: { role: "user", content: "Go on." } });
      answer(conversation);
      return;
    }
    turn.view.state = error.name === "AbortError" ? "stopped" : "failed";
    if (turn.view.state === "failed") {
      const problem = error instanceof Problem ? error : new Problem(`The page failed: ${error.message}`);
      turn.view.problem = { message: problem.message, status: problem.status, code: problem.code };
    }
  }
  turn.view.seconds = (Date.now() - turn.view.at) / 1000;
  ended(conversation, turn);
}

function ended(conversation, turn) {
  if (conversation === current) update();
  running.delete(conversation.id);
  save(conversation);
  if (conversation !== current) return;
  update();
  const open = waiting(turn);
  if (open.length) {
    $("said").append(el("p", {}, `${open.map((call) => call.name).join(", ")}: decide, please.`));
    if (document.activeElement === ask && !ask.value) shown.at(-1).focusDecision();
  }
  if (turn.view.problem?.status === 401) unlock(turn.view.problem.message);
}

// All calls of an answer are decided: the run goes on.
function goOn(turn) {
  const conversation = current;
  const open = waiting(turn);
  if (open.some((call) => turn.view.decisions[call.id] === undefined)) {
    save(conversation);
    update();
    shown[conversation.turns.indexOf(turn)].focusDecision();
    return;
  }
  for (const call of open) {
    const content = JSON.stringify(turn.view.decisions[call.id]);
    conversation.turns.push({ message: { role: "tool", tool_call_id: call.id, content } });
  }
  ask.focus();
  answer(conversation);
}

// The same request once more.
function repeat() {
  if (running.has(current.id) || current.turns.at(-1)?.message.role !== "assistant") return;
  current.turns.pop();
  redrawn();
  answer(current);
}

// An answer that the server's end broke off goes on where it stood.
function resume() {
  if (running.has(current.id)) return;
  current.turns.at(-1).view.problem = null;
  answer(current);
}

// The last question once more. What was decided since is decided anew: an approved call would run again.
function retry() {
  const last = current.turns.findLastIndex((turn) => turn.message.role === "user");
  if (last !== -1) askAgain(last, current.turns[last].message.content);
}

function askAgain(index, text) {
  if (running.has(current.id)) return;
  current.turns.length = index;
  redrawn();
  say(text);
  ask.focus();
}

function redrawn() {
  for (const view of shown.splice(current.turns.length)) view?.node.remove();
}

function open(conversation) {
  current = conversation;
  if (current.model && [...$("model").options].some((option) => option.value === current.model)) $("model").value = current.model;
  current.model = $("model").value || current.model;
  options.set("open", current.id);
  draw();
  drawList();
  closeSide();
}

function drawList() {
  const rows = conversations.list().map(({ id, title }) => {
    const name = el("button", { type: "button", class: "name", "aria-current": id === current.id ? "true" : null, onclick: () => choose(id) }, title || "Untitled");
    return el("li", {}, name, button("bin", `Delete “${title}”`, () => remove(id)));
  });
  $("list").replaceChildren(...rows);
  $("none").hidden = rows.length > 0;
}

// One that is being answered is the same object for as long as that takes.
const live = new Map();
function choose(id) {
  if (id === current.id) return closeSide();
  if (running.has(current.id)) live.set(current.id, current);
  const found = running.has(id) ? live.get(id) : conversations.load(id);
  if (found) open(found);
  ask.focus();
}

function remove(id) {
  running.get(id)?.abort();
  const gone = id === current.id ? current : conversations.load(id);
  running.delete(id);
  conversations.remove(id);
  if (id === current.id) open(newConversation($("model").value));
  drawList();
  toast("The conversation is deleted.", "Undo", () => (save(gone), open(conversations.load(id))));
}

// ---- keys and buttons

function fit(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

function send() {
  const text = ask.value.trim();
  if (!text || running.has(current.id) || !current.model) return;
  ask.value = "";
  fit(ask);
  say(text);
}

function stop() {
  running.get(current.id)?.abort();
}

function fresh() {
  if (running.has(current.id)) live.set(current.id, current);
  open(newConversation($("model").value));
  ask.focus();
}

function openSide() {
  document.body.classList.add("side");
  $("shade").hidden = false;
  $("menu").setAttribute("aria-expanded", "true");
  $("new").focus();
}

function closeSide() {
  if (!document.body.classList.contains("side")) return;
  document.body.classList.remove("side");
  $("shade").hidden = true;
  $("menu").setAttribute("aria-expanded", "false");
  $("menu").focus();
}

function dress() {
  const theme = options.get("theme") ?? "auto";
  document.documentElement.dataset.theme = theme;
  const words = { auto: "as the system has it", light: "light", dark: "dark" };
  $("theme").title = `Colours: ${words[theme]}`;
  $("theme").setAttribute("aria-label", `Colours: ${words[theme]}`);
}

function unlock(why = null) {
  if ($("unlock").open) return;
  $("unlock-why").textContent = `${why ? `${why} ` : ""}A key is kept until this tab is closed, and sent to this server alone.`;
  $("secret").value = "";
  $("unlock").showModal();
}

async function useKey() {
  key = $("secret").value.trim() || null;
  if (key) secrets.set("key", key);
  else secrets.remove("key");
  $("unlock").close();
  await start();
  const last = current.turns.at(-1)?.view?.problem;
  if (last?.status === 401 && current.model) repeat();
  ask.focus();
}

function onKey(event) {
  const isTyping = event.target.closest?.("input, textarea, select") !== null;
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (document.body.classList.contains("side")) closeSide();
    else if (running.has(current.id)) stop();
    else ask.focus();
  } else if (event.altKey && !event.ctrlKey && !event.metaKey) {
    const does = { KeyN: fresh, KeyR: retry, KeyM: () => $("model").focus() }[event.code];
    if (does) {
      event.preventDefault();
      does();
    }
  } else if (!isTyping && isPlain) {
    const decision = event.target.closest?.(".decision")?.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (decision) decision.click();
    else if (event.key === "/") ask.focus();
    else if (event.key === "?") $("help").showModal();
    else return;
    event.preventDefault();
  } else if (event.key === "?" && event.target === ask && !ask.value && isPlain) {
    event.preventDefault();
    $("help").showModal();
  }
}

ask.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "ArrowUp" && !ask.value) {
    const last = current.turns.findLastIndex((turn) => turn.message.role === "user");
    if (last === -1 || running.has(current.id)) return;
    event.preventDefault();
    shown[last].edit();
  }
});
ask.addEventListener("input", () => {
  fit(ask);
  $("send").disabled = !running.has(current.id) && (!ask.value.trim() || !current.model);
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running.has(current.id)) stop();
  else send();
});
log.addEventListener("scroll", () => {
  isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  $("latest").hidden = isAtEnd;
});
log.addEventListener("click", (event) => {
  const from = event.target.closest("[data-copy]");
  if (from) copy(from.closest(".code").querySelector("code").textContent, from);
});
$("latest").addEventListener("click", () => (toEnd(), ask.focus()));
$("new").addEventListener("click", fresh);
$("menu").addEventListener("click", () => (document.body.classList.contains("side") ? closeSide() : openSide()));
$("shade").addEventListener("click", closeSide);
$("shortcuts").addEventListener("click", () => $("help").showModal());
$("key").addEventListener("click", () => unlock());
$("open").addEventListener("click", useKey);
$("secret").addEventListener("keydown", (event) => event.key === "Enter" && useKey());
$("theme").addEventListener("click", () => {
  const order = ["auto", "light", "dark"];
  options.set("theme", order[(order.indexOf(options.get("theme") ?? "auto") + 1) % 3]);
  dress();
});
$("model").addEventListener("change", () => {
  current.model = $("model").value;
  options.set("model", current.model);
  if (!current.turns.length) log.replaceChildren();
  update();
  ask.focus();
});
for (const each of document.querySelectorAll("[data-close]")) each.addEventListener("click", () => each.closest("dialog").close());
document.addEventListener("keydown", onKey);
addEventListener("pagehide", () => running.has(current.id) && conversations.save(current));
addEventListener("storage", (event) => {
  if (!conversations.isOurs(event.key)) return;
  drawList();
  const other = event.key?.endsWith(`chat:${current.id}`) && !running.has(current.id) ? conversations.load(current.id) : null;
  if (other) open(other);
});

async function start() {
  let names = [];
  try {
    names = await agents(key);
    $("key").hidden = !key;
  } catch (error) {
    if (error.status === 401) {
      $("key").hidden = false;
      unlock(key ? error.message : null);
    } else {
      log.replaceChildren(
        el("div", { class: "problem hello", role: "alert" }, el("p", {}, error.message), el("button", { type: "button", onclick: () => location.reload() }, "Try again")),
      );
    }
    return;
  }
  $("model").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  const wanted = [current.model, options.get("model")].find((name) => names.includes(name)) ?? names[0];
  $("model").value = wanted;
  $("models").classList.toggle("one", names.length === 1);
  current.model = wanted;
  log.querySelector(".hello")?.remove();
  update();
}

dress();
$("key").hidden = !key;
open(conversations.load(options.get("open") ?? "") ?? newConversation(null));
await start();
ask.focus();
