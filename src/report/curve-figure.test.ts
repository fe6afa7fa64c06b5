import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawCurves } from './curve-figure.js';
import { SERIES } from './theme.js';

test('ticks tell their own numbers, each another', () => {
  const points = [
    { x: 3, y: 0.436 },
    { x: 38, y: 0.485 },
  ];
  const axis = { x: { label: 'step' }, y: { label: 'share' } };
  const markup = drawCurves([{ name: 'a', style: SERIES[0], points }], { width: 760, ...axis });
  const texts = [...markup.matchAll(/<text[^>]*>([\d.]+)<\/text>/g)].map(([, text]) => Number(text));
  const shares = texts.filter((value) => value < 1);
  assert.ok(shares.length >= 4);
  assert.equal(new Set(shares).size, shares.length);
  assert.ok(shares.every((value) => value >= 0.43 && value <= 0.49));
});
