// What the Python package does with Pillow, to the same bytes: resizing, cutting out, and a PNG of the result.

const PRECISION = 22; // bits behind the point of Pillow's weights, for 8-bit pixels

/** Resize pixels (height, width, channels) by Pillow's BILINEAR filter, which smooths what it makes smaller. */
export function resize(pixels, width, height, channels, newWidth, newHeight) {
  const between = width === newWidth ? pixels : resizeRows(pixels, width, height, channels, newWidth);
  return height === newHeight ? between : resizeColumns(between, newWidth, height, channels, newHeight);
}

/** For each place of the result: where its pixels begin, and their weights. */
function filter(size, newSize) {
  const scale = size / newSize;
  const spread = Math.max(scale, 1);
  return Array.from({ length: newSize }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - spread + 0.5));
    const count = Math.min(size, Math.trunc(center + spread + 0.5)) - first;
    const weights = Float64Array.from({ length: count }, (_, k) => Math.max(0, 1 - Math.abs((k + first - center + 0.5) / spread)));
    const sum = weights.reduce((one, other) => one + other, 0);
    return { first, weights: weights.map((weight) => Math.trunc(0.5 + (weight / sum) * (1 << PRECISION))) };
  });
}

function resizeRows(pixels, width, height, channels, newWidth) {
  const result = new Uint8ClampedArray(newWidth * height * channels);
  const places = filter(width, newWidth);
  for (let y = 0, to = 0; y < height; y++) {
    for (const { first, weights } of places) {
      for (let channel = 0; channel < channels; channel++, to++) {
        let sum = 1 << (PRECISION - 1);
        for (let k = 0, from = (y * width + first) * channels + channel; k < weights.length; k++, from += channels)
          sum += pixels[from] * weights[k];
        result[to] = sum >> PRECISION;
      }
    }
  }
  return result;
}

function resizeColumns(pixels, width, height, channels, newHeight) {
  const row = width * channels;
  const result = new Uint8ClampedArray(row * newHeight);
  const sums = new Float64Array(row);
  filter(height, newHeight).forEach(({ first, weights }, y) => {
    sums.fill(1 << (PRECISION - 1));
    weights.forEach((weight, k) => {
      for (let x = 0, from = (first + k) * row; x < row; x++, from++) sums[x] += pixels[from] * weight;
    });
    for (let x = 0; x < row; x++) result[y * row + x] = sums[x] >> PRECISION;
  });
  return result;
}

/** RGB of RGBA pixels, what is transparent before white: what the network sees. */
export function onWhite(pixels) {
  const result = new Uint8ClampedArray((pixels.length / 4) * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4)
    for (let channel = 0; channel < 3; channel++) result[to++] = mix(pixels[from + channel], 255, pixels[from + 3]);
  return result;
}

/** The network's input of RGB pixels: planes, divided by the maximum, normalized by mean and deviation. */
export function normalize(pixels, mean, deviation) {
  const size = pixels.length / 3;
  const result = new Float32Array(pixels.length);
  const peak = pixels.reduce((one, other) => Math.max(one, other), 0) || 1;
  for (let index = 0; index < size; index++)
    for (let channel = 0; channel < 3; channel++)
      result[channel * size + index] = (pixels[3 * index + channel] / peak - mean[channel]) / deviation[channel];
  return result;
}

/** The cut-out of RGBA pixels: alpha by the mask, colors erased where nothing is left; or before a color. */
export function cutOut(pixels, mask, background) {
  const result = new Uint8ClampedArray(pixels.length);
  for (let index = 0, at = 0; index < mask.length; index++, at += 4) {
    const alpha = pixels[at + 3] === 255 ? mask[index] : multiply(mask[index], pixels[at + 3]);
    if (background) {
      for (let channel = 0; channel < 3; channel++) result[at + channel] = mix(pixels[at + channel], background[channel], alpha);
      result[at + 3] = 255;
    } else if (alpha) {
      for (let channel = 0; channel < 3; channel++) result[at + channel] = pixels[at + channel];
      result[at + 3] = alpha;
    }
  }
  return result;
}

function multiply(one, other) {
  const product = one * other + 128;
  return ((product >> 8) + product) >> 8;
}

function mix(one, other, alpha) {
  const sum = one * alpha + other * (255 - alpha) + 128;
  return ((sum >> 8) + sum) >> 8;
}

/** A PNG file of RGBA pixels. (A canvas would multiply the colors by alpha, and lose some of their bits.) */
export async function encodePng(pixels, width, height) {
  const row = 4 * width;
  const lines = new Uint8Array((row + 1) * height);
  for (let y = 0; y < height; y++) {
    const from = y * row;
    const to = y * (row + 1);
    lines[to] = y && 2; // each row less the one above
    for (let x = 0; x < row; x++) lines[to + 1 + x] = pixels[from + x] - (y ? pixels[from + x - row] : 0);
  }
  const packed = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set([8, 6], 8); // 8 bits, RGBA
  const signature = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const parts = [signature, ...chunk("IHDR", header), ...chunk("IDAT", data), ...chunk("IEND", new Uint8Array())];
  return new Blob(parts, { type: "image/png" });
}

function chunk(name, data) {
  const kind = new TextEncoder().encode(name);
  const size = new DataView(new ArrayBuffer(4));
  const check = new DataView(new ArrayBuffer(4));
  size.setUint32(0, data.length);
  check.setUint32(0, ~crc(data, crc(kind, -1)));
  return [size, kind, data, check];
}

const CRC = Int32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc(data, value) {
  for (let index = 0; index < data.length; index++) value = CRC[(value ^ data[index]) & 255] ^ (value >>> 8);
  return value;
}
