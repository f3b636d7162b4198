"""Applications that are programs: what one writes. Pure data."""

from gateway.connect.apps import Row, Template

OPENAI_PYTHON = Row(
    "openai-python",
    "OpenAI SDK for Python",
    "Reads OPENAI_BASE_URL and OPENAI_API_KEY from the environment where they are not given. The base URL ends in /v1.",
    (
        Template("Install", "sh", "pip install openai"),
        Template(
            "Transcribe",
            "python",
            """\
from openai import OpenAI

client = OpenAI(base_url=%BASE_URL%, api_key=%KEY%)
with open("meeting.mp3", "rb") as audio:
    print(client.audio.transcriptions.create(model=%TRANSCRIBE%, file=audio).text)
""",
            "transcribe",
        ),
        Template(
            "Speak",
            "python",
            """\
from openai import OpenAI

client = OpenAI(base_url=%BASE_URL%, api_key=%KEY%)
speech = client.audio.speech.create(model=%SPEAK%, voice=%VOICE%, input="Hello!")
speech.write_to_file("hello.mp3")
""",
            "speak",
        ),
    ),
)
OPENAI_NODE = Row(
    "openai-node",
    "OpenAI SDK for Node",
    "Reads OPENAI_BASE_URL and OPENAI_API_KEY from the environment where they are not given. Save it as a .mjs file.",
    (
        Template("Install", "sh", "npm install openai"),
        Template(
            "Transcribe",
            "js",
            """\
import fs from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: %BASE_URL%, apiKey: %KEY% });
const file = fs.createReadStream("meeting.mp3");
const { text } = await client.audio.transcriptions.create({ model: %TRANSCRIBE%, file });
console.log(text);
""",
            "transcribe",
        ),
        Template(
            "Speak",
            "js",
            """\
import fs from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: %BASE_URL%, apiKey: %KEY% });
const speech = await client.audio.speech.create({ model: %SPEAK%, voice: %VOICE%, input: "Hello!" });
fs.writeFileSync("hello.mp3", Buffer.from(await speech.arrayBuffer()));
""",
            "speak",
        ),
    ),
)
CURL = Row(
    "curl",
    "curl",
    "With the fields before the file the upload streams through; with the file first it is kept until its end.",
    (
        Template(
            "Transcribe",
            "sh",
            """\
curl %BASE_URL%/audio/transcriptions -H %BEARER% \\
     -F model=%TRANSCRIBE% -F file=@meeting.mp3
""",
            "transcribe",
        ),
        Template(
            "Speak",
            "sh",
            """\
curl %BASE_URL%/audio/speech -H %BEARER% -H 'Content-Type: application/json' \\
     -d %SPEECH% -o hello.mp3
""",
            "speak",
        ),
        Template(
            "Which models there are, and what is left of the key's limits",
            "sh",
            "curl %BASE_URL%/models -H %BEARER%\ncurl %BASE_URL%/usage -H %BEARER%\n",
        ),
    ),
)
LANGCHAIN = Row(
    "langchain",
    "LangChain",
    "The parser is in langchain-community. It cuts the audio into pieces of 20 minutes with pydub, which needs ffmpeg; "
    "each piece is a request.",
    (
        Template("Install", "sh", "pip install langchain-community openai pydub"),
        Template(
            "Audio files as documents",
            "python",
            """\
from langchain_community.document_loaders.blob_loaders import FileSystemBlobLoader
from langchain_community.document_loaders.generic import GenericLoader
from langchain_community.document_loaders.parsers.audio import OpenAIWhisperParser

parser = OpenAIWhisperParser(api_key=%KEY%, base_url=%BASE_URL%, model=%TRANSCRIBE%)
loader = GenericLoader(FileSystemBlobLoader("recordings", glob="*.mp3"), parser)
for document in loader.lazy_load():
    print(document.page_content)
""",
            "transcribe",
        ),
    ),
)
VERCEL = Row(
    "vercel-ai-sdk",
    "Vercel AI SDK",
    "From version 7 on `transcribe` has no prefix; in 5 and 6 it is `experimental_transcribe`, and `generateSpeech` is "
    "`experimental_generateSpeech`. Save it as a .mjs file.",
    (
        Template("Install", "sh", "npm install ai @ai-sdk/openai"),
        Template(
            "Transcribe",
            "js",
            """\
import { readFile } from "node:fs/promises";
import { createOpenAI } from "@ai-sdk/openai";
import { transcribe } from "ai";

const openai = createOpenAI({ baseURL: %BASE_URL%, apiKey: %KEY% });
const audio = await readFile("meeting.mp3");
const { text } = await transcribe({ model: openai.transcription(%TRANSCRIBE%), audio });
console.log(text);
""",
            "transcribe",
        ),
        Template(
            "Speak",
            "js",
            """\
import { writeFile } from "node:fs/promises";
import { createOpenAI } from "@ai-sdk/openai";
import { generateSpeech } from "ai";

const openai = createOpenAI({ baseURL: %BASE_URL%, apiKey: %KEY% });
const { audio } = await generateSpeech({ model: openai.speech(%SPEAK%), voice: %VOICE%, text: "Hello!" });
await writeFile("hello.mp3", audio.uint8Array);
""",
            "speak",
        ),
    ),
)
PROGRAMS = (OPENAI_PYTHON, OPENAI_NODE, CURL, LANGCHAIN, VERCEL)
