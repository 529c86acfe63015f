// Builds the page:  node build.mjs MODELS OUT
// MODELS holds a folder for each network, as `u2net-hf export` writes it; OUT can be put on any static server.
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const source = dirname(fileURLToPath(import.meta.url));
const [models, out] = process.argv.slice(2);
if (!models || !out || !existsSync(models)) throw new Error("node build.mjs MODELS OUT: MODELS is a folder of exports");
const GRAPHS = { q8: "model_quantized.onnx", fp16: "model_fp16.onnx", fp32: "model.onnx" };
const PAGE = ["index.html", "style.css", "icon.svg"];
// Without and with WebGPU; the page loads one of them.
const RUNTIMES = ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"];

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "runtime"), { recursive: true });
await build({
  entryPoints: ["main.js", "worker.js"].map((name) => join(source, name)),
  outdir: out,
  bundle: true,
  format: "esm",
  minify: true,
  legalComments: "linked",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  logLevel: "error",
});
for (const name of PAGE) cpSync(join(source, name), join(out, name));
for (const name of RUNTIMES)
  for (const suffix of ["mjs", "wasm"])
    cpSync(join(source, "node_modules/onnxruntime-web/dist", `${name}.${suffix}`), join(out, "runtime", `${name}.${suffix}`));
cpSync(models, join(out, "models"), { recursive: true });

const listed = readdirSync(models).filter((name) => existsSync(join(models, name, "config.json")));
listed.sort((one, other) => size(one) - size(other)); // the smallest is the default
writeFileSync(join(out, "models.json"), JSON.stringify(listed.map((name) => ({ name, bytes: graphs(name) }))));

const hash = createHash("sha256");
for (const path of files(out).sort()) hash.update(relative(out, path)).update(readFileSync(path));
const worker = readFileSync(join(source, "service-worker.js"), "utf8").replace("VERSION", hash.digest("hex").slice(0, 16));
writeFileSync(join(out, "service-worker.js"), worker);

function graphs(name) {
  const found = Object.entries(GRAPHS).map(([dtype, file]) => [dtype, join(models, name, "onnx", file)]);
  return Object.fromEntries(found.filter(([, path]) => existsSync(path)).map(([dtype, path]) => [dtype, statSync(path).size]));
}

function size(name) {
  return Math.min(...Object.values(graphs(name)));
}

function files(folder) {
  return readdirSync(folder, { recursive: true }).map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
}
