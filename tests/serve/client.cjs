// openai's package for Node as a client of a served agent; prints what it saw as JSON.
// Arguments: the endpoint, the key, what to do.
const OpenAI = require("openai");

const [baseURL, apiKey, what] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 20000 });
const model = "bot";
const messages = [{ role: "user", content: "Hello" }];
const tools = [{ type: "function", function: { name: "place", parameters: { type: "object", properties: {} } } }];

const does = {
  async plain() {
    const { data, response } = await client.chat.completions.create({ model, messages }).withResponse();
    const [choice] = data.choices;
    return {
      content: choice.message.content,
      reason: choice.finish_reason,
      request: response.headers.get("x-request-id") === data._request_id,
      models: (await client.models.list()).data.map((each) => each.id),
    };
  },
  async streamed() {
    const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
    let content = "";
    let pieces = 0;
    let usage = null;
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content) pieces += 1;
      content += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    return { content, pieces, tokens: usage.completion_tokens };
  },
  async tools() {
    const { message } = (await client.chat.completions.create({ model, messages, tools })).choices[0];
    const [call] = message.tool_calls;
    const result = { role: "tool", tool_call_id: call.id, content: "Hanoi" };
    const answer = await client.chat.completions.create({ model, messages: [...messages, message, result], tools });
    return { name: call.function.name, content: answer.choices[0].message.content };
  },
  async runner() {
    const place = { type: "function", function: { name: "place", parameters: { type: "object", properties: {} }, function: () => "Hanoi" } };
    const runner = client.chat.completions.runTools({ model, messages, stream: true, tools: [place] });
    return { content: await runner.finalContent() };
  },
  async format() {
    const schema = { type: "object", properties: { city: { type: "string" }, warm: { type: "boolean" } } };
    const response_format = { type: "json_schema", json_schema: { name: "weather", schema } };
    const answer = await client.chat.completions.create({ model, messages, response_format });
    return JSON.parse(answer.choices[0].message.content);
  },
  async error() {
    try {
      for await (const _ of await client.chat.completions.create({ model, messages, stream: true }));
      return null;
    } catch (error) {
      return { kind: error.constructor.name, status: error.status, code: error.code };
    }
  },
};

does[what]().then((seen) => console.log(JSON.stringify(seen)));
