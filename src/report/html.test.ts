import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseHTML } from 'linkedom';
import { escapeMarkup, html, rawHtml } from './html.js';

test('whatever text is put into a template, a reader of the page gets that text and no element of it', () => {
  const printable = fc.string({ unit: 'binary' }).map((text) => text.replace(/[\p{C}\ufffe\uffff]/gu, ''));
  fc.assert(
    fc.property(printable, (text) => {
      const { document } = parseHTML(`<html><body>${html`<p title="${text}">${text}</p>`.html}</body></html>`);
      assert.equal(document.querySelectorAll('body *').length, 1);
      assert.equal(document.querySelector('p')!.textContent, text);
      assert.equal(document.querySelector('p')!.getAttribute('title'), text);
    }),
    { numRuns: 40 },
  );
});

test('templates nest, lists are joined, and nothing leaves no trace', () => {
  const rows = ['a', '<b>'].map((text) => html`<li>${text}</li>`);
  assert.equal(html`<ul>${rows}${null}${false}${undefined}</ul>${0}`.html, '<ul><li>a</li><li>&lt;b&gt;</li></ul>0');
  assert.equal(html`${rawHtml('<i>')}`.html, '<i>');
});

test('characters that XML forbids are dropped', () => {
  assert.equal(escapeMarkup('a\u0000b\u001bc\nd\uffff'), 'abc\nd');
});
