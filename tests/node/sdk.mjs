// The OpenAI SDK for Node against a gateway: `node sdk.mjs SCENARIO`, with BASE_URL, API_KEY and AUDIO (a file) in the
// environment. Prints what came of it as JSON.

import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const { BASE_URL, API_KEY, AUDIO } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0, timeout: 20_000 });
const transcriptions = client.audio.transcriptions;

async function caught(promise) {
  try {
    return { served: await promise };
  } catch (error) {
    const { status, code, type, param, message, requestID } = error;
    return { name: error.constructor.name, status, code, type, param, message, requestID };
  }
}

const scenarios = {
  // The file first and the model behind it, as the SDK's own documentation has it; sent without a length.
  async stream() {
    const file = fs.createReadStream(AUDIO);
    return await transcriptions.create({ file, model: "whisper-1", language: "en" });
  },

  async files() {
    const bytes = fs.readFileSync(AUDIO);
    const made = await toFile(bytes, "x.wav", { type: "audio/wav" });
    const first = await transcriptions.create({ file: made, model: "whisper-1" });
    const second = await transcriptions.create({ model: "whisper-1", file: new File([bytes], "会议.WAV") });
    const text = await transcriptions.create({ model: "whisper-1", file: made, response_format: "text" });
    return [first.text, second.text, text];
  },

  async options() {
    return await transcriptions.create({
      file: fs.createReadStream(AUDIO),
      model: "gpt-4o-transcribe",
      prompt: "one\ntwo",
      include: ["logprobs"],
      timestamp_granularities: ["word", "segment"],
      chunking_strategy: { type: "server_vad", threshold: 0.4 },
      known_speaker_references: ["data:audio/wav;base64," + "A".repeat(300_000)],
    });
  },

  async events() {
    const file = fs.createReadStream(AUDIO);
    const stream = await transcriptions.create({ file, model: "gpt-4o-transcribe", stream: true });
    const types = [];
    const result = await caught((async () => {
      for await (const event of stream) types.push(event.type);
    })());
    return { types, ...result };
  },

  async speech() {
    const answer = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "héllo" });
    const type = answer.headers.get("content-type");
    let size = 0;
    for await (const piece of answer.body) size += piece.length;
    return { type, size };
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return { names, one: (await client.models.retrieve("tts-1")).id, none: await caught(client.models.retrieve("x")) };
  },

  async errors() {
    const file = () => fs.createReadStream(AUDIO);
    const stranger = client.withOptions({ apiKey: "sk-wrong" });
    return {
      key: await caught(stranger.audio.transcriptions.create({ file: file(), model: "whisper-1" })),
      model: await caught(transcriptions.create({ file: file(), model: "gpt-9" })),
      format: await caught(transcriptions.create({ file: file(), model: "whisper-1", response_format: "xml" })),
      input: await caught(client.audio.speech.create({ model: "tts-1", voice: "alloy" })),
      large: await caught(transcriptions.create({ file: new File([Buffer.alloc(2_000_000)], "x.mp3"), model: "whisper-1" })),
      upstream: await caught(transcriptions.create({ file: file(), model: "whisper-1" })),
    };
  },

  // With retries on: what the gateway forbids to send again is sent once.
  async patient() {
    const patient = client.withOptions({ maxRetries: 2 });
    const file = new File([fs.readFileSync(AUDIO)], "x.wav");
    return await caught(patient.audio.transcriptions.create({ file, model: "whisper-1" }));
  },

  async cancelled() {
    const abort = new AbortController();
    const answer = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "hi" }, { signal: abort.signal });
    const { value } = await answer.body.getReader().read();
    abort.abort();
    return { size: value.length };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
