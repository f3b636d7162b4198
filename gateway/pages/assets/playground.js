// The playground: requests like anybody's, made by this page with the visitor's own key; and the curl that does the same.
const $ = (selector, within = document) => within.querySelector(selector);
const base = `${location.origin}/v1`;
const key = () => sessionStorage.getItem("key") ?? "";

// -- the key, in this tab alone

const known = $("#known"), unknown = $("#unknown"), entry = $("#key");

function showKey() {
  $("code", known).textContent = key().replace(/^(ag_[^_]*_).*(.{4})$/, "$1…$2");
  known.hidden = !key();
  unknown.hidden = !!key();
}

unknown.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", entry.value.trim());
  entry.value = "";
  showKey();
  $("button", known).focus();
});
$("button", known).addEventListener("click", () => {
  sessionStorage.removeItem("key");
  showKey();
  entry.focus();
});

// -- what the same is in a shell

const quoted = (text) => (/^[\w.,:=@%+/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
// curl reads @, < and ; in the fields of -F, and may be told not to.
const field = ([name, value]) =>
  /^[\w.,:+-]*$/.test(value) ? `-F ${name}=${value}` : `--form-string ${quoted(`${name}=${value}`)}`;
const filed = (name) => quoted(/[,;"\\ ]/.test(name) ? `file=@"${name.replace(/["\\]/g, "\\$&")}"` : `file=@${name}`);

function curl(path, lines) {
  return [`curl ${base}/audio/${path}`, '-H "Authorization: Bearer $OPENAI_API_KEY"', ...lines].join(" \\\n  ");
}

// -- one request, and what is shown of it

const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);
const wait = (after) => (/^\d+(\.\d+)?$/.test(after) ? `${after} s` : after);

class Refusal extends Error {
  constructor(status, error, headers) {
    super(error.message || `It was refused with status ${status}.`);
    const after = headers.get("retry-after");
    this.told = [error.code || error.type, `status ${status}`, after && `try again in ${wait(after)} (Retry-After)`];
    this.id = headers.get("x-request-id");
    this.recorded = status >= 500 || status < 401; // what is not let in leaves no record
  }
}

async function refusal(response) {
  const text = await response.text();
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    error = { message: text.slice(0, 1000) };
  }
  return new Refusal(response.status, error, response.headers);
}

function link(id) {
  const found = document.createElement("a");
  found.href = `/requests/${encodeURIComponent(id)}`;
  found.textContent = id;
  return found;
}

function left(headers) {
  const [limit, remaining, reset] = ["limit", "remaining", "reset"].map((one) => headers.get(`x-ratelimit-${one}-requests`));
  return limit && `${remaining} of ${limit} requests left${reset ? `, all of them again in ${reset}` : ""}`;
}

class Half {
  // `request` gives path, and body and headers to send; `take` shows an answer and gives facts of its own.
  constructor(form, { ready, request, take }) {
    Object.assign(this, { form, ready, request, take, button: $("button.main", form), cancel: $(".cancel", form) });
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.cancel.addEventListener("click", () => this.asking?.abort());
  }

  async send() {
    if (!key()) {
      this.refuse(new Error("Which key is to be used? Put it into the field at the top."));
      entry.focus();
      return;
    }
    const missing = this.ready();
    if (missing) return this.refuse(new Error(missing));
    this.clear();
    this.asking = new AbortController();
    this.busy(true);
    const began = performance.now();
    try {
      const { path, ...asked } = this.request();
      const headers = { authorization: `Bearer ${key()}`, ...asked.headers };
      const signal = this.asking.signal;
      const response = await fetch(`${base}/audio/${path}`, { method: "POST", ...asked, headers, signal });
      if (!response.ok) throw await refusal(response);
      const facts = await this.take(response, began);
      this.done(response.headers, { ...facts, "Time taken": seconds(performance.now() - began) });
    } catch (error) {
      if (error.name === "AbortError") this.say("Cancelled.");
      else this.refuse(error instanceof TypeError ? new Error("The gateway broke off, or cannot be reached.") : error);
    } finally {
      this.busy(false);
    }
  }

  say(words) {
    $(".doing", this.form).textContent = words;
  }

  busy(yes) {
    const had = document.activeElement === (yes ? this.button : this.cancel);
    if (yes) this.say("Waiting for the answer …");
    this.cancel.hidden = !yes;
    this.button.disabled = yes;
    if (had) (yes ? this.cancel : this.button).focus();
  }

  clear() {
    $(".wrong", this.form).hidden = true;
    $(".answer", this.form).hidden = true;
    $(".facts", this.form).replaceChildren();
  }

  reveal() {
    $(".answer", this.form).hidden = false;
  }

  done(headers, facts) {
    this.reveal();
    this.say(`Done in ${facts["Time taken"]}.`);
    const id = headers.get("x-request-id");
    for (const [name, value] of Object.entries({ ...facts, Request: id && link(id), Limit: left(headers) })) {
      if (!value) continue;
      const term = document.createElement("dt"), said = document.createElement("dd");
      term.textContent = name;
      said.append(value);
      $(".facts", this.form).append(term, said);
    }
  }

  refuse(error) {
    const shown = $(".wrong", this.form), more = document.createElement("p");
    this.clear();
    this.say("");
    more.append((error.told ?? []).filter(Boolean).join(" · "));
    if (error.id) more.append(" · ", error.recorded ? link(error.id) : error.id);
    shown.replaceChildren(error.message, ...(more.textContent ? [more] : []));
    shown.hidden = false;
  }
}

function download(anchor, blob, name) {
  if (anchor.href) URL.revokeObjectURL(anchor.href);
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
}

const values = (form, names) => names.map((name) => [name, form.elements[name].value.trim()]).filter(([, value]) => value);

// -- audio to text

const hear = $("#hear"), fields = hear.elements;
const EXTENSIONS = { text: "txt", srt: "srt", vtt: "vtt" };
let chosen = null; // the file that is shown
let recording = null; // { raw, wav }: as the browser made it, and as every upstream reads it

const offered = (input) => [...$(`#${input.id}s`)?.options ?? input.options].find((one) => one.value === input.value);

function audio() {
  if (!recording) return $("#file").files[0];
  return recording.wav && "wav" in (offered(fields.model)?.dataset ?? {}) ? recording.wav : recording.raw;
}

function asked() {
  const streams = fields.stream.checked && !fields.stream.disabled;
  const names = ["model", "response_format", "language", "temperature", "prompt"];
  const found = values(hear, names.filter((name) => !fields[name].disabled));
  if (fields.response_format.value === "diarized_json") found.push(["chunking_strategy", "auto"]);
  return streams ? [...found, ["stream", "true"]] : found;
}

// What the model's upstreams cannot do cannot be chosen.
function fit() {
  const task = fields.task.selectedOptions[0].dataset, model = offered(fields.model)?.dataset ?? { streams: "" };
  const able = [task, model].map((one) => one.formats?.split(" ")).filter(Boolean);
  for (const one of fields.response_format.options) {
    one.disabled = one.hidden = !able.every((formats) => formats.includes(one.value));
  }
  if (fields.response_format.selectedOptions[0]?.disabled !== false) {
    const first = [...fields.response_format.options].find((one) => !one.disabled);
    if (first) first.selected = true;
  }
  const translating = fields.task.value === "translations";
  fields.language.disabled = translating;
  fields.stream.disabled = translating || !("streams" in model);
  const found = asked(), streams = found.some(([name]) => name === "stream");
  const lines = [...found.map(field), `-F ${filed(audio()?.name ?? "audio.mp3")}`, ...(streams ? ["--no-buffer"] : [])];
  $("#hear-curl code").textContent = curl(fields.task.value, lines);
}

function form() {
  const body = new FormData();
  for (const [name, value] of asked()) body.append(name, value);
  body.append("file", audio(), audio().name);
  return body;
}

const listening = new Half(hear, {
  ready() {
    if (!audio()) return "There is no audio yet: record some, or choose a file.";
    return audio().size > hear.dataset.most ? "That is more than the gateway takes in one request." : "";
  },
  request: () => ({ path: fields.task.value, body: form() }),
  async take(response) {
    const streams = (response.headers.get("content-type") ?? "").startsWith("text/event-stream");
    const text = streams ? await streamed(response) : await response.text();
    $(".answer code", hear).textContent = text;
    const format = fields.response_format.value;
    const extension = streams ? "txt" : (EXTENSIONS[format] ?? "json");
    download($(".save", hear), new Blob([text], { type: "text/plain;charset=utf-8" }), `transcript.${extension}`);
  },
});

// Events as they come; the text that they spell is shown at once.
async function streamed(response) {
  const shown = $(".answer code", hear);
  let text = "", rest = "";
  shown.textContent = "";
  listening.reveal();
  for await (const piece of pieces(response.body.pipeThrough(new TextDecoderStream()))) {
    const lines = (rest + piece).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      const event = told(line);
      if (event.error) throw new Refusal(response.status, event.error, response.headers);
      text = event.type === "transcript.text.done" ? (event.text ?? text) : text + (event.delta ?? "");
    }
    shown.textContent = text;
  }
  return text;
}

async function* pieces(stream) {
  const reader = stream.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value;
}

function told(line) {
  try {
    return line.startsWith("data:") ? JSON.parse(line.slice(5)) : {};
  } catch {
    return {}; // data: [DONE]
  }
}

function choose(file, made = null) {
  [chosen, recording] = [file, made];
  if (made) $("#file").value = "";
  const own = $("#own");
  if (own.src) URL.revokeObjectURL(own.src);
  own.hidden = !file;
  own.removeAttribute("src");
  if (file) own.src = URL.createObjectURL(file);
  $("#chosen").textContent = file ? `${file.name}, ${(file.size / 1e6).toFixed(2)} MB` : "";
  $("#saving").hidden = !made;
  if (made) download($("#saving a"), file, file.name);
  fit();
}

$("#file").addEventListener("change", () => choose($("#file").files[0]));
hear.addEventListener("input", (event) => {
  if (event.target.id === "file") return; // it tells once it has changed
  if (recording && audio() !== chosen) choose(audio(), recording); // another model may read other kinds
  else fit();
});
const drop = $(".drop", hear);
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name !== "drop" || !event.dataTransfer.files.length) return;
    $("#file").files = event.dataTransfer.files;
    choose($("#file").files[0]);
  });
}

// -- the microphone

const record = $("#record");
let recorder = null;

record.addEventListener("click", () => (recorder ? recorder.stop() : begin()));
if (!navigator.mediaDevices || !window.MediaRecorder) {
  record.disabled = true;
  $("#chosen").textContent = "Browsers give the microphone to pages over https, or on this very machine, alone.";
}

async function begin() {
  let microphone;
  record.disabled = true; // until it is clear whether it may
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    $("#chosen").textContent = "The browser does not give the microphone to this page: allow it in the address bar.";
    return;
  } finally {
    record.disabled = false;
  }
  const data = [], shown = watch(microphone);
  recorder = new MediaRecorder(microphone);
  recorder.addEventListener("dataavailable", (event) => data.push(event.data));
  recorder.addEventListener("stop", async () => {
    const type = recorder.mimeType.split(";")[0];
    recorder = null;
    shown.end();
    for (const track of microphone.getTracks()) track.stop();
    const raw = new File(data, `recording.${type.split("/")[1]}`, { type });
    const wav = $("[data-wav]", hear) && (await wave(raw).catch(() => null));
    choose(wav && "wav" in (offered(fields.model)?.dataset ?? {}) ? wav : raw, { raw, wav });
  });
  recorder.start();
  $("#chosen").textContent = "";
}

// Level and time, as long as it is recorded.
function watch(microphone) {
  const context = new AudioContext(), analyser = context.createAnalyser(), samples = new Float32Array(1024);
  const level = $("#level"), elapsed = $("#elapsed"), began = performance.now();
  context.createMediaStreamSource(microphone).connect(analyser);
  const state = (on) => {
    record.textContent = on ? "Stop" : "Record again";
    record.setAttribute("aria-pressed", on);
    level.hidden = elapsed.hidden = !on;
  };
  const look = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    level.value = Math.min(1, 4 * Math.sqrt(samples.reduce((sum, one) => sum + one * one, 0) / samples.length));
    const whole = Math.floor((performance.now() - began) / 1000);
    elapsed.textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }, 100);
  state(true);
  return {
    end() {
      clearInterval(look);
      context.close();
      state(false);
    },
  };
}

// A recording as WAV, 16 bits at 16 kHz: some upstreams read no WebM.
async function wave(blob) {
  const rate = 16000, decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
  const view = new DataView(new ArrayBuffer(44 + 2 * decoded.length));
  const words = (at, text) => [...text].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  words(0, "RIFF");
  view.setUint32(4, 36 + 2 * decoded.length, true);
  words(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  words(36, "data");
  view.setUint32(40, 2 * decoded.length, true);
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, one) => decoded.getChannelData(one));
  for (let at = 0; at < decoded.length; at++) {
    const value = channels.reduce((sum, one) => sum + one[at], 0) / channels.length;
    view.setInt16(44 + 2 * at, Math.max(-1, Math.min(1, value)) * 32767, true);
  }
  return new File([view], "recording.wav", { type: "audio/wav" });
}

// -- text to audio

const speak = $("#speak"), player = $(".answer audio", speak);

function wanted() {
  const found = Object.fromEntries(values(speak, ["model", "input", "voice", "response_format", "instructions", "speed"]));
  return JSON.stringify(found.speed ? { ...found, speed: Number(found.speed) } : found);
}

function showSpeech() {
  const lines = ['-H "Content-Type: application/json"', `-d ${quoted(wanted())}`, `--output ${spoken()}`];
  $("#speak-curl code").textContent = curl("speech", lines);
}

const spoken = () => `speech.${speak.elements.response_format.value}`;
const speaking = new Half(speak, {
  ready: () => "",
  request: () => ({ path: "speech", body: wanted(), headers: { "content-type": "application/json" } }),
  async take(response, began) {
    const data = [];
    let first = 0;
    for await (const piece of pieces(response.body)) {
      first ||= performance.now() - began;
      data.push(piece);
    }
    const said = response.headers.get("content-type") ?? "";
    const blob = new Blob(data, { type: said.startsWith("audio/") ? said : "application/octet-stream" }); // no page of ours
    download($(".save", speak), blob, spoken());
    player.src = $(".save", speak).href;
    return { "First byte after": first && seconds(first), Size: `${(blob.size / 1000).toFixed(1)} KB` };
  },
});
player.addEventListener("error", () => {
  if (player.src) speaking.say("This browser cannot play it; the download is as it came.");
});
speak.addEventListener("input", showSpeech);

$("#unscripted").hidden = true;
$("#keys").hidden = false;
showKey();
fit();
showSpeech();
