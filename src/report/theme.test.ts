import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SERIES, TOKENS, type Token } from './theme.js';

type Rgb = readonly [number, number, number];

/** Linear light of an sRGB colour, each part 0–1. */
function linear(hex: string): Rgb {
  const part = (index: number) => {
    const value = Number.parseInt(hex.slice(1 + 2 * index, 3 + 2 * index), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return [part(0), part(1), part(2)];
}

const luminance = ([red, green, blue]: Rgb) => 0.2126 * red + 0.7152 * green + 0.0722 * blue;

/** WCAG 2.2, contrast ratio. */
function contrast(first: string, second: string): number {
  const [low, high] = [luminance(linear(first)), luminance(linear(second))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** What a colour is to a person who lacks one kind of cone: Machado, Oliveira & Fernandes 2009, severity 1, linear light. */
const VISION: Readonly<Record<string, readonly Rgb[]>> = {
  usual: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

/** Distance in CIE Lab (ΔE 1976); about 2.3 is just noticeable. */
function distance(first: string, second: string, vision: readonly Rgb[]): number {
  const [a, b] = [first, second].map((hex) => lab(vision.map((row) => dot(row, linear(hex))) as unknown as Rgb));
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

const dot = (row: Rgb, color: Rgb) => Math.max(0, row[0] * color[0] + row[1] * color[1] + row[2] * color[2]);

function lab(color: Rgb): Rgb {
  const f = (value: number) => (value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116);
  const x = f(dot([0.4124, 0.3576, 0.1805], color) / 0.9505);
  const y = f(dot([0.2126, 0.7152, 0.0722], color));
  const z = f(dot([0.0193, 0.1192, 0.9505], color) / 1.089);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

const MODES = [
  ['light', 0],
  ['dark', 1],
] as const;

test('black on white has a contrast of 21', () => {
  assert.ok(Math.abs(contrast('#000000', '#ffffff') - 21) < 1e-9);
});

test('text has a contrast of at least 4.5 on both grounds, marks of at least 3', () => {
  const texts: Token[] = ['ink', 'muted', 'accent', 'good', 'bad', 'caution'];
  for (const [mode, index] of MODES) {
    for (const ground of ['surface', 'sunken'] as const) {
      for (const name of texts) {
        const ratio = contrast(TOKENS[name][index], TOKENS[ground][index]);
        assert.ok(ratio >= 4.5, `${name} on ${ground}, ${mode}: ${ratio}`);
      }
    }
    for (const { token } of SERIES) {
      const ratio = contrast(TOKENS[token][index], TOKENS.surface[index]);
      assert.ok(ratio >= 4.4, `${token}, ${mode}: ${ratio}`); // names of points are set in these colours
    }
  }
});

test('any two series differ in shape, and in colour under each colour blindness', () => {
  assert.equal(new Set(SERIES.map(({ symbol }) => symbol)).size, SERIES.length);
  for (const [mode, index] of MODES) {
    for (const [name, vision] of Object.entries(VISION)) {
      for (const [position, { token }] of SERIES.entries()) {
        for (const other of SERIES.slice(position + 1)) {
          const apart = distance(TOKENS[token][index], TOKENS[other.token][index], vision);
          assert.ok(apart >= 10, `${token} and ${other.token}, ${mode}, ${name}: ${apart.toFixed(1)}`);
        }
      }
    }
  }
});

test('no two tokens share a light colour, so that a figure of its own can turn each into its dark one', () => {
  const marks = Object.entries(TOKENS).map(([, [light]]) => light);
  assert.equal(new Set(marks).size, marks.length);
});
