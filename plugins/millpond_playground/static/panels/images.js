// Panel: the similarities of images and texts.

import { element, uniqueId } from "../dom.js";
import { InputError, linesField } from "../fields.js";
import { heatmap, textLabels } from "../heatmap.js";
import { cosine } from "../numbers.js";
import { createPanel } from "../panel.js";
import { hasCapability, readsTexts } from "../tasks.js";
import { imageEmbedder, textEmbedder } from "../vectors.js";
import { readImages, sampleImages } from "../pictures.js";

const SAMPLE = ["a red circle", "a blue square", "a green triangle"];

export const images = {
  id: "images",
  title: "Images",
  summary: "How well each text describes each image: the cosine of their vectors.",
  supports: hasCapability("image_embed"),
  build(context) {
    const chosen = imageField(() => sampleImages());
    const texts = linesField({ label: "Texts", value: SAMPLE, hint: "One per line; none to compare the images." });
    const embedImage = imageEmbedder(context);
    const embedTexts = textEmbedder(context);
    return createPanel({
      context,
      fields: [chosen, texts],
      action: "Compare",
      async compute(post) {
        const list = await chosen.images();
        const lines = readsTexts(context.model) ? texts.lines() : [];
        if (!list.length) throw new InputError("Images: choose at least one");
        const imageVectors = [];
        for (const image of list) imageVectors.push(await embedImage(post, image));
        const textVectors = lines.length ? await embedTexts(post, lines) : imageVectors;
        const values = imageVectors.map((left) => textVectors.map((right) => cosine(left, right)));
        const flat = values.flat();
        const best = values.map((row) => row.indexOf(Math.max(...row)));
        return heatmap({
          label: "Cosine similarity; rows are images",
          rows: list.map(imageLabel),
          columns: lines.length ? textLabels(lines) : list.map(imageLabel),
          values,
          low: Math.min(...flat),
          high: Math.max(...flat),
          isSymmetric: !lines.length,
          isMarked: (row, column) => lines.length > 1 && best[row] === column,
        });
      },
    });
  },
};

const imageLabel = (image) => ({
  title: image.name,
  label: element("img", { src: image.url, alt: image.name, class: "thumbnail" }),
});

/** Return a field to choose images by a dialog, by dropping and by pasting: `node` and `images()`. */
function imageField(samples) {
  let list = samples();
  const id = uniqueId("images");
  const input = element("input", { id, type: "file", accept: "image/*", multiple: true, change: () => add(input.files) });
  const shown = element("ul", { class: "thumbnails", "aria-label": "Chosen images" });
  const message = element("p", { class: "field-error", role: "alert" });
  const node = element(
    "div",
    { class: "field images", dragover: onDrag, dragleave: onDrag, drop: onDrop, paste: onPaste },
    element("label", { for: id }, "Images"),
    input,
    element("p", { class: "hint" }, "Choose files, drop them here, or paste them."),
    shown,
    message,
  );
  show();

  async function add(files) {
    if (!files.length) return;
    message.textContent = "";
    try {
      list = Promise.resolve(await readImages(files));
    } catch (error) {
      message.textContent = error.message;
    }
    await show();
  }

  async function show() {
    shown.replaceChildren(...(await list).map((image) => element("li", {}, imageLabel(image).label)));
  }

  function onDrag(event) {
    event.preventDefault();
    node.classList.toggle("dropping", event.type === "dragover");
  }

  function onDrop(event) {
    onDrag(event);
    add(event.dataTransfer.files);
  }

  function onPaste(event) {
    if (event.clipboardData.files.length) add(event.clipboardData.files);
  }

  return { node, images: () => list };
}
