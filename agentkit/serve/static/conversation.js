// The endpoint as this page asks it, and conversations as this browser keeps them. Nothing here draws.

export const DECIDE = "agentkit_decide";
const TOOL = {
  type: "function",
  function: {
    name: DECIDE,
    description: "Asks the person about a call that waits for a decision.",
    parameters: { type: "object" },
  },
};
const HERE = location.pathname.replace(/[^/]*$/, "");
const PREFIX = `agentkit:${HERE}:`;

// What went wrong, in words for the person who asked.
export class Problem extends Error {
  constructor(message, { status = 0, code = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const WORDS = {
  invalid_api_key: "The server does not take this key.",
  draining: "The server is about to end. Try again in a moment.",
};

function problemOf(error, status = 0, wait = null) {
  const words = WORDS[error?.code] ?? error?.message ?? `The server answered with status ${status}.`;
  const later = wait && Number(wait) > 1 ? ` It wants ${wait} seconds until then.` : "";
  return new Problem(`${words}${later}`, { status, code: error?.code ?? null });
}

async function sent(path, key, options = {}) {
  const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...options.headers };
  let response;
  try {
    response = await fetch(`${HERE}v1/${path}`, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server can't be reached. Is it still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw problemOf(body?.error, response.status, response.headers.get("retry-after"));
}

export async function agents(key) {
  const answer = await (await sent("models", key)).json();
  return answer.data.map((model) => model.id);
}

// The chunks of an answer, until it is whole. Throws Problem, or an AbortError.
export async function* chunks(model, messages, key, signal) {
  const body = JSON.stringify({
    model,
    messages,
    tools: [TOOL],
    stream: true,
    stream_options: { include_usage: true },
    agentkit_steps: true,
  });
  const response = await sent("chat/completions", key, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw problemOf(chunk.error);
    yield chunk;
  }
  throw new Problem("The line broke before the answer was whole.");
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The line broke before the answer was whole.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

// ---- an answer, put together

export function newAnswer() {
  return {
    message: { role: "assistant", content: "" },
    view: { parts: [], state: "running", at: Date.now(), seconds: null, tokens: null, problem: null, decisions: {} },
  };
}

// Add a chunk. `parts` are what is shown, in the order that it came in; the message is what is sent back, as it came.
export function fold({ message, view }, chunk) {
  if (chunk.usage) view.tokens = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
  const choice = chunk.choices[0];
  if (!choice) return;
  const { delta } = choice;
  if (delta.reasoning_content) grow(view, "reasoning", delta.reasoning_content);
  if (delta.content) {
    message.content += delta.content;
    grow(view, "text", delta.content);
  }
  if (delta.refusal) {
    message.refusal = (message.refusal ?? "") + delta.refusal;
    grow(view, "refusal", delta.refusal);
  }
  for (const step of delta.agentkit_steps ?? []) take(view, step);
  for (const piece of delta.tool_calls ?? []) {
    message.tool_calls ??= [];
    const known = message.tool_calls[piece.index];
    if (known) known.function.arguments += piece.function.arguments;
    else message.tool_calls[piece.index] = { id: piece.id, type: "function", function: { ...piece.function } };
  }
  if (delta.agentkit_state) message.agentkit_state = delta.agentkit_state;
  if (choice.finish_reason) view.reason = choice.finish_reason;
}

function grow(view, kind, text) {
  const last = view.parts.at(-1);
  if (last?.kind === kind) {
    last.text += text;
    last.until = Date.now();
  } else {
    view.parts.push({ kind, text, at: Date.now(), until: Date.now() });
  }
}

function take(view, step) {
  view.waits = step.type === "retry" ? step.seconds : null;
  const path = (step.id ?? "").split("/");
  let inside = view.parts;
  for (let length = 1; length < path.length; length += 1) {
    const outer = inside.findLast((part) => part.kind === "step" && part.id === path.slice(0, length).join("/"));
    if (!outer) return;
    inside = outer.inner;
  }
  const known = inside.findLast((part) => part.kind === "step" && part.id === step.id);
  if (step.type === "call") {
    const { id, name } = step;
    inside.push({ kind: "step", id, name, arguments: step.arguments, status: null, told: "", inner: [], at: Date.now() });
  } else if (step.type === "agent") {
    inside.push({ kind: "agent", name: step.name });
  } else if (step.type === "progress" && known) {
    known.told = step.content;
  } else if (step.type === "result" && known) {
    Object.assign(known, { status: step.status, told: step.content, seconds: step.seconds });
  } else if (step.type === "dropped" && known) {
    Object.assign(known, { status: "dropped", told: "" });
  }
}

// The calls that an answer asks a decision about.
export function waiting(turn) {
  return (turn.message.tool_calls ?? []).map((call) => {
    let asked = {};
    try {
      asked = JSON.parse(call.function.arguments);
    } catch {
      asked = { name: call.function.name, arguments: call.function.arguments };
    }
    return { id: call.id, name: asked.name, arguments: asked.arguments, hold: asked.hold ?? "approval" };
  });
}

// ---- what is kept

class Kept {
  constructor(area) {
    this.memory = new Map();
    try {
      this.area = window[area];
      this.area.setItem(`${PREFIX}probe`, "1");
      this.area.removeItem(`${PREFIX}probe`);
    } catch {
      this.area = null; // the browser forbids it: then what is kept ends with the page
    }
  }

  get(name) {
    const text = this.area ? this.area.getItem(PREFIX + name) : this.memory.get(name);
    try {
      return text ? JSON.parse(text) : null;
    } catch {
      return null;
    }
  }

  set(name, value) {
    if (this.area) this.area.setItem(PREFIX + name, JSON.stringify(value));
    else this.memory.set(name, JSON.stringify(value));
  }

  remove(name) {
    if (this.area) this.area.removeItem(PREFIX + name);
    else this.memory.delete(name);
  }
}

export const options = new Kept("localStorage");
export const secrets = new Kept("sessionStorage");

export const conversations = {
  list() {
    return options.get("list") ?? [];
  },

  load(id) {
    const found = options.get(`chat:${id}`);
    for (const turn of found?.turns ?? []) {
      if (turn.view?.state === "running") turn.view.state = "broken";
    }
    return found;
  },

  // Whether there was room for it, and how many older ones had to go.
  save(conversation) {
    const entry = { id: conversation.id, title: conversation.title, at: Date.now() };
    const others = this.list().filter((each) => each.id !== entry.id);
    let dropped = 0;
    for (;;) {
      try {
        options.set(`chat:${conversation.id}`, conversation);
        options.set("list", [entry, ...others]);
        return { kept: true, dropped };
      } catch {
        const oldest = others.pop();
        if (!oldest) return { kept: false, dropped };
        options.remove(`chat:${oldest.id}`);
        dropped += 1;
      }
    }
  },

  remove(id) {
    options.remove(`chat:${id}`);
    options.set("list", this.list().filter((each) => each.id !== id));
  },

  isOurs(name) {
    return name === null || name.startsWith(PREFIX);
  },
};

export function newConversation(model) {
  const id = [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(36)).join("");
  return { id, title: "", model, turns: [] };
}
