// Pictures: images that the user chooses, and three drawings to start with.

import { InputError } from "./fields.js";

const SIZE = 224; // pixels
const SHAPES = [
  ["red circle", "#d93025", (pen) => pen.arc(SIZE / 2, SIZE / 2, 80, 0, 2 * Math.PI)],
  ["blue square", "#1a56db", (pen) => pen.rect(40, 40, SIZE - 80, SIZE - 80)],
  ["green triangle", "#188038", (pen) => [[112, 30], [200, 190], [24, 190]].forEach(([x, y]) => pen.lineTo(x, y))],
];

/** Return the images of files: their name, a data URL for the server, and a URL to show them. */
export async function readImages(files) {
  return await Promise.all(Array.from(files, readImage));
}

async function readImage(file) {
  if (!file.type.startsWith("image/")) throw new InputError(`${file.name} is not an image`);
  return { name: file.name, dataUrl: await dataUrl(file), url: URL.createObjectURL(file) };
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new InputError("the image cannot be read")));
    reader.readAsDataURL(blob);
  });
}

/** Return drawings of three shapes, so that something can be compared before an image is chosen. */
export async function sampleImages() {
  return await Promise.all(SHAPES.map(drawn));
}

async function drawn([name, color, draw]) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIZE, height: SIZE });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, SIZE, SIZE);
  pen.fillStyle = color;
  pen.beginPath();
  draw(pen);
  pen.fill();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return { name, dataUrl: await dataUrl(blob), url: URL.createObjectURL(blob) };
}
