/** Answers to one question side by side: the teacher's, and each student's. */
import type { ShownResponses } from '../experiment/distill/records.js';
import { type Html, html, rawHtml } from './html.js';

export function responsesHtml(shown: readonly ShownResponses[]): Html {
  return html`${shown.map(
    (
      { set, question, answers },
      index,
    ) => html`<details class="question"${index === 0 && rawHtml(' open')}><summary>${question} <span class="aside">${set}</span></summary>
<div class="traces">
${answers.map(
  ({
    name,
    text,
    isCorrect,
  }) => html`<article class="trace"><h4>${name}${isCorrect !== null && html`<span>${isCorrect ? '✓ right' : '✗ wrong'}</span>`}</h4>
<p class="running">${text.trim() === '' ? '(nothing)' : text}</p></article>
`,
)}</div>
</details>
`,
  )}`;
}
