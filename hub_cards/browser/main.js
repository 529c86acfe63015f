// The page: takes a photo, has the worker cut it out, and shows both beneath a slider.
const $ = (id) => document.getElementById(id);
const worker = await start();
let name = "cut-out", shownPhoto, models = [];

/** The service worker first: the page is loaded again once, so that all of it is kept, and threads may be used. */
async function start() {
  if ("serviceWorker" in navigator && window.isSecureContext) {
    await navigator.serviceWorker.register("service-worker.js").catch(() => null);
    const controlled = navigator.serviceWorker.controller && window.crossOriginIsolated;
    if (!controlled && !sessionStorage.getItem("reloaded") && (await ready())) {
      sessionStorage.setItem("reloaded", "yes");
      location.reload();
      await new Promise(() => {});
    }
  }
  return new Worker("worker.js", { type: "module" });
}

function ready() {
  const given = navigator.serviceWorker.getRegistration().then((found) => found && navigator.serviceWorker.ready);
  return Promise.race([given, new Promise((resolve) => setTimeout(resolve, 5000))]);
}

const answers = {
  progress({ loaded, total }) {
    say(`Loading the network: ${megabytes(loaded)} of ${megabytes(total)} MB`, loaded / total);
  },
  ready({ device, dtype, threads }) {
    say(`Ready: ${device === "webgpu" ? "graphics card" : threads ? "processor, several threads" : "processor"}, ${dtype}`);
    document.body.dataset.state = "ready";
    enable(true);
    if (shownPhoto) open(shownPhoto);
  },
  shown({ bitmap, width, height }) {
    const canvas = $("result");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
    $("stage").style.setProperty("--ratio", width / height);
    document.body.dataset.state = "shown";
    say(`${width} × ${height} pixels, in ${((performance.now() - answers.since) / 1000).toFixed(1)} s`);
    enable(true);
  },
  saved({ png }) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(png);
    link.download = `${name}.cut-out.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    enable(true);
  },
  error({ during, message }) {
    const reasons = { open: "This photo cannot be read", load: "The network cannot be loaded", save: "It cannot be saved" };
    say(`${reasons[during] ?? "Something went wrong"}: ${message}`);
    document.body.dataset.state = "failed";
    enable(true);
  },
};
worker.onmessage = ({ data }) => answers[data.type](data);
worker.onerror = (event) => answers.error({ message: event.message ?? "the worker stopped" });

function say(text, share) {
  $("status").textContent = text;
  $("progress").hidden = share === undefined;
  if (share !== undefined) $("progress").value = share;
}

function enable(yes) {
  for (const id of ["model", "download", "kind", "color"]) $(id).disabled = !yes || (id === "download" && !$("result").width);
}

function megabytes(count) {
  return (count / 1e6).toFixed(1);
}

function load() {
  const { name, bytes } = models[$("model").value];
  document.body.dataset.state = "loading";
  enable(false);
  say("Loading the network");
  worker.postMessage({ type: "load", name, dtypes: Object.keys(bytes) });
}

function open(file) {
  if (shownPhoto !== file) URL.revokeObjectURL($("photo").src);
  shownPhoto = file;
  name = (file.name ?? "photo").replace(/\.[^.]*$/, "");
  $("photo").src = URL.createObjectURL(file);
  $("photo").alt = file.name ?? "photo";
  if (document.body.dataset.state === "loading") return;
  document.body.dataset.state = "working";
  enable(false);
  say("Cutting out");
  answers.since = performance.now();
  worker.postMessage({ type: "open", file, color: color() });
}

function color() {
  if ($("kind").value === "transparent") return null;
  const value = Number.parseInt($("color").value.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function paint() {
  $("color").hidden = $("kind").value === "transparent";
  if (!shownPhoto) return;
  answers.since = performance.now();
  worker.postMessage({ type: "paint", color: color() });
}

function first(files) {
  const file = [...(files ?? [])].find(({ type }) => type.startsWith("image/") || !type);
  if (file) open(file);
  else if (files?.length) say("That is no picture.");
}

$("file").onchange = ({ target }) => first(target.files);
$("model").onchange = load;
$("kind").onchange = $("color").onchange = paint;
$("download").onclick = () => {
  enable(false);
  worker.postMessage({ type: "save" });
};
$("slider").oninput = ({ target }) => $("stage").style.setProperty("--split", `${target.value}%`);
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  first(event.dataTransfer.files);
};
document.onpaste = ({ clipboardData }) => first(clipboardData.files);

$("camera").onclick = async () => {
  const video = $("video");
  try {
    video.srcObject ??= await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 4096 } } });
    $("viewfinder").showModal();
    await video.play();
  } catch (error) {
    say(`There is no camera to use: ${error.message}`);
  }
};
$("shoot").onclick = async () => {
  const video = $("video");
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const file = await canvas.convertToBlob({ type: "image/png" });
  $("viewfinder").close();
  open(new File([file], "camera.png", { type: "image/png" }));
};
$("viewfinder").onclose = () => {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
};

models = await (await fetch("models.json")).json();
models.forEach(({ name, bytes }, index) => {
  $("model").add(new Option(`${name} (${megabytes(Math.min(...Object.values(bytes)))} MB)`, index));
});
$("model").parentElement.hidden = models.length < 2;
load();
