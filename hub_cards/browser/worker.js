// The network, beside the page: messages in {load}, {file}, {background} or {save}; out {progress}, {ready}, {shown}, {saved} or {error}.
import { AutoModel, Tensor, env } from "@huggingface/transformers";
import { cutOut, encodePng, normalize, onWhite, resize } from "./pixels.js";

const base = new URL(".", self.location.href);
env.allowLocalModels = true;
env.allowRemoteModels = false;
env.localModelPath = new URL("models/", base).href;
env.useBrowserCache = env.useWasmCache = false; // the service worker keeps all

let model, photo, background;

const actions = {
  async load({ name, dtypes }) {
    const processor = await (await fetch(new URL(`models/${name}/preprocessor_config.json`, base))).json();
    const [device, dtype] = await choose(dtypes);
    const runtime = `runtime/ort-wasm-simd-threaded${device === "webgpu" ? ".asyncify" : ""}`;
    env.backends.onnx.wasm.wasmPaths = { mjs: new URL(`${runtime}.mjs`, base).href, wasm: new URL(`${runtime}.wasm`, base).href };
    const progress_callback = ({ status, file, loaded, total }) => {
      if (status === "progress" && file.endsWith(".onnx")) postMessage({ type: "progress", loaded, total });
    };
    const network = await AutoModel.from_pretrained(name, { device, dtype, progress_callback });
    model = { network, ...processor };
    return { type: "ready", device, dtype, threads: self.crossOriginIsolated };
  },

  async open({ file, color }) {
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const pixels = context.getImageData(0, 0, width, height).data;
    photo = { pixels, width, height, mask: await predict(pixels, width, height) };
    background = color;
    return show();
  },

  async paint({ color }) {
    background = color;
    return show();
  },

  async save() {
    const { pixels, width, height, mask } = photo;
    return { type: "saved", png: await encodePng(cutOut(pixels, mask, background), width, height) };
  },
};

self.onmessage = async ({ data }) => {
  try {
    const answer = await actions[data.type](data);
    postMessage(answer, answer.bitmap ? [answer.bitmap] : []);
  } catch (error) {
    postMessage({ type: "error", during: data.type, message: String(error?.message ?? error) });
  }
};

/** WebGPU with float16 where there is one, else the processor with int8. */
async function choose(dtypes) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (adapter?.features.has("shader-f16") && dtypes.includes("fp16")) return ["webgpu", "fp16"];
  return ["wasm", dtypes.includes("q8") ? "q8" : dtypes[0]];
}

async function predict(pixels, width, height) {
  const { network, size, image_mean, image_std } = model;
  const seen = resize(onWhite(pixels), width, height, 3, size.width, size.height);
  const input = new Tensor("float32", normalize(seen, image_mean, image_std), [1, 3, size.height, size.width]);
  const { saliency } = await network({ pixel_values: input });
  const map = Uint8ClampedArray.from(saliency.data, (value) => Math.round(255 * value));
  return resize(map, size.width, size.height, 1, width, height);
}

async function show() {
  const { pixels, width, height, mask } = photo;
  const bitmap = await createImageBitmap(new ImageData(cutOut(pixels, mask, background), width, height));
  return { type: "shown", bitmap, width, height };
}
