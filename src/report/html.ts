/** Text of a page, made so that nothing from outside can become markup. */

/** Markup that may stand in a page as it is. */
export interface Html {
  readonly html: string;
}

/** What may stand between the pieces of a template; nothing, `null` and `false` leave no trace. */
export type HtmlValue = string | number | Html | null | undefined | false | readonly HtmlValue[];

/** Markup from a template: html`<p>${text}</p>`. Strings are escaped, also inside quoted attributes; lists are joined. */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return { html: strings.reduce((text, piece, index) => text + textOf(values[index - 1]) + piece) };
}

/** Trusts a string that is markup already: a figure, a style sheet. */
export const rawHtml = (markup: string): Html => ({ html: markup });

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** A string as text of HTML or XML, or the value of a quoted attribute. Control characters that XML forbids are dropped. */
export function escapeMarkup(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is removed
  const allowed = text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '');
  return allowed.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

function textOf(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'object') return 'html' in value ? value.html : value.map(textOf).join('');
  return escapeMarkup(String(value));
}
