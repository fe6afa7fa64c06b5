/** The frame of every page: one file that needs nothing from anywhere. */
import { type Html, html, rawHtml } from './html.js';
import { pageStyle } from './page-style.js';

export interface Section {
  /** Of its anchor: kebab-case. */
  readonly name: string;
  readonly title: string;
  readonly body: Html;
}

export interface Page {
  /** Of the window. */
  readonly title: string;
  /** A line above the headline: what this is a report of. */
  readonly eyebrow: string;
  readonly headline: string;
  /** Said in the same breath; may be empty. */
  readonly verdict: string;
  /** Things to know before reading on: a quick run, a run in progress. */
  readonly notices: readonly { readonly title: string; readonly text: string }[];
  /** Between headline and sections. */
  readonly lead: Html;
  readonly sections: readonly Section[];
  readonly footer: string;
}

/** What of a page changes while a run lasts: everything but the frame. */
export function pageBody({ eyebrow, headline, verdict, notices, lead, sections, footer }: Omit<Page, 'title'>): string {
  return html`<header>
<p class="eyebrow">${eyebrow}</p>
<h1>${headline}</h1>
${verdict !== '' && html`<p class="verdict">${verdict}</p>\n`}${notices.map(({ title, text }) => html`<p class="notice" role="note"><strong>${title}</strong> ${text}</p>\n`)}${lead}
<nav aria-label="Contents"><ul>${sections.map(({ name, title }) => html`<li><a href="#${name}">${title}</a></li>`)}</ul></nav>
</header>
<main>
${sections.map(({ name, title, body }) => html`<section aria-labelledby="${name}">\n<h2 id="${name}">${title}</h2>\n${body}</section>\n`)}</main>
<footer>${footer}</footer>
`.html;
}

/** A whole document. `script` is for a page that is served; a page that is a file has none. */
export function pageDocument(page: Page, { script }: { script?: string } = {}): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="azeotrope">
<title>${page.title}</title>
<style>${rawHtml(pageStyle())}</style>
</head>
<body>
${rawHtml(pageBody(page))}${script !== undefined && html`<script>${rawHtml(script)}</script>\n`}</body>
</html>
`.html;
}
