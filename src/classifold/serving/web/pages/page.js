// The page of `classifold serve`: sends images to the API, and shows what it returns.
"use strict";

const MAX_IN_FLIGHT = 4; // requests; the server predicts waiting images together
const SMALL = 64; // pixels of a side, below which an image is enlarged with square pixels

const byId = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const results = []; // {file, prediction, card}; prediction is null until it is known
const waiting = [];
let inFlight = 0;
let served = { max_bytes: Infinity, levels: [], task: "single" };

async function start() {
  try {
    served = await (await fetch("/v1/model")).json();
  } catch {
    return alertUser("The server cannot be reached. Is it still running?");
  }
  const name = served.model === "stack"
    ? `The stack of ${served.members.join(", ")}` : `The model ${served.model}`;
  const n = served.classes.length;
  byId("model").textContent = `${name} · ${n.toLocaleString("en")} ${n === 1 ? "class" : "classes"}`;
  byId("version").textContent = `Classifold ${served.version}`;
  byId("card").hidden = !served.has_card;
  byId("level-label").hidden = !served.levels.length;
  byId("full-sets").textContent = served.set_warnings.join(" ");
  for (const level of served.levels) {
    byId("level").add(new Option(`at ${+(100 * level).toFixed(4)} %`, level));
  }
}

function add(files) {
  for (const file of files) {
    const result = { file, prediction: null, card: makeCard(file) };
    byId("results").append(result.card);
    results.push(result);
    waiting.push(result);
  }
  report();
  sendNext();
}

function sendNext() {
  while (inFlight < MAX_IN_FLIGHT && waiting.length) {
    const result = waiting.shift();
    inFlight += 1;
    predict(result).finally(() => {
      inFlight -= 1;
      report();
      sendNext();
    });
  }
}

async function predict(result) {
  result.card.querySelector(".busy").textContent = "predicting …";
  try {
    const { predictions } = await send("/v1/predict", result.file, (seconds) => {
      result.card.querySelector(".busy").textContent = `the server is busy; again in ${seconds} s`;
    });
    result.prediction = predictions[0];
  } catch (error) {
    const name = result.file.name || "image";
    result.prediction = { image: name, labels: [], probabilities: [], sets: {},
      reason: error.message, abstained: null, remark: null, novelty: null, is_novel: false };
  }
  show(result);
}

// Sends one image, again if the server is busy.
async function send(address, file, onBusy = () => {}) {
  if (file.size > served.max_bytes) {
    throw new Error(`larger than ${Math.floor(served.max_bytes / 2 ** 20)} MiB`);
  }
  for (;;) {
    const form = new FormData();
    form.append("images", file, file.name || "image");
    let reply;
    try {
      reply = await fetch(address, { method: "POST", body: form });
    } catch {
      throw new Error("the server cannot be reached, or the file has changed");
    }
    if (reply.status !== 429) {
      const content = await reply.json().catch(() => ({ error: `status ${reply.status}` }));
      if (!reply.ok) throw new Error(content.error);
      return content;
    }
    const seconds = Number(reply.headers.get("Retry-After")) || 1;
    onBusy(seconds);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

function makeCard(file) {
  const card = byId("result").content.firstElementChild.cloneNode(true);
  card.querySelector(".name bdi").textContent = file.name || "pasted image";
  const photo = card.querySelector(".photo");
  photo.addEventListener("load", () => fit(photo));
  photo.addEventListener("error", () => {
    card.querySelector(".picture").hidden = true;
    card.querySelector(".nothing").hidden = false;
  });
  photo.src = URL.createObjectURL(file);
  return card;
}

// The picture has the shape of its image, so that the map, which is stretched, lies exactly on it.
function fit(photo) {
  const [width, height] = [photo.naturalWidth, photo.naturalHeight];
  const [picture, square] = [photo.parentElement, photo.closest(".square")];
  const widest = Math.min(1, (width / height) / (square.clientWidth / square.clientHeight));
  picture.style.width = `${100 * widest}%`;
  picture.style.aspectRatio = `${width} / ${height}`;
  photo.classList.toggle("small", Math.max(width, height) < SMALL);
}

function show(result) {
  const { card, prediction } = result;
  const part = (name) => card.querySelector(name);
  part(".busy").hidden = true;
  part(".name bdi").textContent = prediction.image;
  part(".photo").alt = prediction.image;
  if (prediction.reason) {
    card.classList.add("failed");
    part(".label").textContent = "Cannot be read";
    part(".remark").textContent = prediction.reason;
    part(".remark").hidden = false;
    return;
  }
  part(".label").textContent = prediction.labels.join(", ")
    || (prediction.abstained ? "No prediction" : "No class");
  card.classList.toggle("novel", prediction.is_novel);
  const remarks = [prediction.remark, prediction.abstained].filter(Boolean);
  part(".remark").textContent = remarks.join(" · ");
  part(".remark").hidden = !remarks.length;
  part(".classes").replaceChildren(...prediction.probabilities.map(
    (one) => classRow(one, prediction.labels.includes(one.class))));
  showSet(result);
  part(".actions").hidden = false;
  part(".explain").addEventListener("click", () => toggleMap(result));
  if (part(".picture").hidden) toggleMap(result); // a format that browsers cannot show
}

function classRow({ class: name, probability }, isPredicted) {
  const row = document.createElement("li");
  row.classList.toggle("predicted", isPredicted);
  const [label, value, track, fill] = ["span", "span", "div", "div"].map(
    (tag) => document.createElement(tag));
  label.textContent = name;
  value.textContent = percent(probability);
  track.className = "track";
  fill.className = "fill";
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  row.append(label, value, track);
  return row;
}

function showSet({ card, prediction }) {
  const level = byId("level").value;
  const members = prediction?.sets[level];
  card.querySelector(".set").hidden = !members;
  if (!members) return;
  card.querySelector(".set .note").textContent = `${+(100 * level).toFixed(4)} % set:`;
  card.querySelector(".set .members").textContent = members.join(", ") || "empty";
}

async function toggleMap(result) {
  const { card, file } = result;
  const [button, map, text] = [".explain", ".map", ".explanation"].map(
    (name) => card.querySelector(name));
  if (!map.src) {
    button.disabled = true;
    button.textContent = "computing …";
    try {
      showExplanation(card, await send("/v1/explain", file));
    } catch (error) {
      text.textContent = error.message;
      text.hidden = false;
      return;
    } finally {
      button.disabled = false;
      button.textContent = "Explain the prediction";
    }
  }
  map.hidden = !map.hidden;
  text.hidden = map.hidden;
  card.querySelector(".nearest").hidden = map.hidden || !card.querySelector(".nearest li");
  button.setAttribute("aria-pressed", String(!map.hidden));
}

function showExplanation(card, explanation) {
  const picture = card.querySelector(".picture");
  if (picture.hidden) {
    card.querySelector(".photo").src = explanation.resized;
    card.querySelector(".nothing").hidden = true;
    picture.hidden = false;
  }
  card.querySelector(".map").src = explanation.map;
  card.querySelector(".explanation").textContent =
    `${explanation.method} of ${explanation.model} for ${explanation.explained}: ` +
    "the brighter, the more the prediction depends on it.";
  card.querySelector(".nearest ul").replaceChildren(...(explanation.nearest ?? []).map(neighbor));
}

function neighbor({ labels, similarity, thumbnail }) {
  const item = document.createElement("li");
  const [image, label, value] = ["img", "span", "span"].map((tag) => document.createElement(tag));
  image.src = thumbnail;
  image.alt = "";
  label.textContent = label.title = labels.join(", ") || "no label";
  value.textContent = similarity.toFixed(2);
  item.append(image, label, value);
  return item;
}

function report() {
  const n = results.length;
  const done = results.filter((one) => one.prediction);
  const failed = done.filter((one) => one.prediction.reason).length;
  document.body.classList.toggle("has-results", n > 0);
  byId("bar").hidden = !n;
  byId("full-sets").hidden = !n || !byId("full-sets").textContent;
  byId("csv").disabled = done.length < n;
  const noun = n === 1 ? "image" : "images";
  byId("status").textContent = !n ? "" :
    (done.length < n ? `${done.length} of ${n} ${noun} done` : `${n} ${noun}`) +
    (failed ? `, ${failed} could not be read` : "");
}

async function downloadCsv() {
  const content = { model: served.model, predictions: results.map((one) => one.prediction) };
  let reply;
  try {
    reply = await fetch("/v1/csv", { method: "POST", body: JSON.stringify(content),
      headers: { "Content-Type": "application/json" } });
  } catch {
    return alertUser("The server cannot be reached. Is it still running?");
  }
  if (!reply.ok) return alertUser((await reply.json()).error);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await reply.blob());
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function clear() {
  for (const photo of document.querySelectorAll(".photo")) URL.revokeObjectURL(photo.src);
  results.length = waiting.length = 0;
  byId("results").replaceChildren();
  report();
  byId("choose").focus();
}

function alertUser(text) {
  byId("alert").textContent = text;
  byId("alert").hidden = false;
}

// Files of dropped folders, too.
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return transfer.files;
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((found, no) => entry.file(found, no))];
  const reader = entry.createReader();
  const inside = [];
  for (;;) { // a reader returns some entries at a time
    const some = await new Promise((found, no) => reader.readEntries(found, no));
    if (!some.length) break;
    inside.push(...some.filter((one) => !one.name.startsWith(".")));
  }
  inside.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  return (await Promise.all(inside.map(filesOf))).flat();
}

byId("choose").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = ""; // the same file may be chosen again
});
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragged");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragged");
});
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dragged");
  add([...await droppedFiles(event.dataTransfer)]);
});
byId("level").addEventListener("change", () => results.forEach(showSet));
byId("csv").addEventListener("click", downloadCsv);
byId("clear").addEventListener("click", clear);
start();
