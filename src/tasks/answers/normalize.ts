/** One spelling for what LaTeX and plain text write in many. */

const REPLACEMENTS: readonly (readonly [RegExp, string])[] = [
  [/\\(?:displaystyle|textstyle|limits|nolimits|phantom\{[^{}]*\}|hphantom\{[^{}]*\})/g, ''],
  [/\\m?(?:left|right|middle)(?![a-zA-Z])\s*\.?|\\(?:[bB]igg?[lrm]?)(?![a-zA-Z])/g, ''],
  [/\\(?:dfrac|tfrac|cfrac)/g, '\\frac'],
  [
    /\\(?:math(?:rm|it|bf|sf|tt|normal)|textnormal|text(?:bf|it|rm|sf|tt)|mbox|hbox|operatorname\*?|boldsymbol|bm)(?![a-zA-Z])/g,
    '\\text',
  ],
  [/\{\s*\\(?:rm|bf|it)\s+/g, '{'],
  [/\\text\s*\{\s*\}/g, ''],
  [/\\text\s*\{\s*(sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|ln|log|exp)\s*\}/g, '\\$1 '],
  [/,?\s*\\text\s*\{\s*,?\s*(?:and|or)\s*\}/g, ' , '],
  [/(?<![a-zA-Z\\]),?\s*\b(?:and|or)\b(?![a-zA-Z])/g, ' , '],
  [/\s*\{\s*,\s*\}\s*/g, ','],
  [/(\d)(?:\\[,;: !]|~|\s*\\!\s*)+(?=\d{3}(?!\d))/g, '$1'], // 10\,080
  [/\\!/g, ''],
  [/(?<!\\)\\(?:[,;: ]|quad|qquad|hspace\{[^{}]*\}|hskip|enspace|thinspace)(?![a-zA-Z])|~/g, ' '],
  [
    /\\?\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-zA-Z]))|\\degree(?![a-zA-Z])|\\textdegree(?![a-zA-Z])/g,
    '°',
  ],
  [/\\?%|\s*\\text\s*\{\s*(?:%|\\%|percent|percentage|pct)\s*\}|\s*\b(?:percentage|percent|pct)\b/g, '%'],
  [/\\\$|[$€£¥₹₽₩]/g, ''],
  [/−|–/g, '-'],
  [/×|⋅|·/g, '*'],
  [/\*\*/g, '^'],
  [/√\s*(\d+(?:\.\d+)?|[a-zA-Z])/g, '\\sqrt{$1}'],
  [/√/g, '\\sqrt'],
  [/π/g, '\\pi '],
  [/∞/g, '\\infty '],
  [/\binfinity\b/gi, '\\infty '],
  [/÷/g, '/'],
  [/≤|<=/g, '\\le '],
  [/≥|>=/g, '\\ge '],
  [/≠|!=/g, '\\ne '],
  [/≈|~=/g, '\\approx '],
  [/±/g, '\\pm '],
  [/∪/g, '\\cup '],
  [/∩/g, '\\cap '],
  [/∈/g, '\\in '],
  [/∅|ø/g, '\\emptyset '],
  [/²/g, '^2'],
  [/³/g, '^3'],
  [/½/g, ' 1/2'],
  [/["“”`]/g, ''],
  // TeX takes one digit as an argument; a denominator may be longer by habit.
  [/\\frac\s*(\d)\s*(\d+)/g, '\\frac{$1}{$2}'],
  [/\\frac\s*(\d)(?=\s*[{\\a-zA-Z])/g, '\\frac{$1}'],
  [/(\\frac\s*\{[^{}]*\})\s*(\d)/g, '$1{$2}'],
  [/\\sqrt\s*(\d)/g, '\\sqrt{$1}'],
];

/** Commands that were escaped twice. Where there are matrices a doubled backslash ends a row. */
const DOUBLED_BACKSLASH = /\\{2,}(?=(?:(?:[dtc]?frac|sqrt|text|pi|left|right|cdot|times|infty|cup|pm)\b|[{}%$]))/g;

/** Rewrites the habits of LaTeX and plain text to one. Brackets, numbers and letters stay as they are. */
export function normalizeAnswer(answer: string): string {
  let text = stripDecoration(answer.replace(/\s+/g, ' '));
  if (!text.includes('\\begin')) text = text.replace(DOUBLED_BACKSLASH, '\\');
  for (const [pattern, replacement] of REPLACEMENTS) text = text.replace(pattern, replacement);
  text = text.replace(/\s+/g, ' ').trim();
  if (/^-?\d{1,3}(?: \d{3})+(?:\.\d+)?$/.test(text)) text = text.replaceAll(' ', ''); // 1 000
  return text;
}

/** Takes off what surrounds an answer without meaning: dollar signs, `\(…\)`, asterisks of Markdown, a last full stop. */
function stripDecoration(answer: string): string {
  let text = answer.trim();
  for (;;) {
    const before = text;
    text = text
      .replace(/^\*\*([^*]+)\*\*$/, '$1')
      .replace(/^\$\$([^$]+)\$\$$/, '$1')
      .replace(/^\$((?:[^$\\]|\\.)+)\$$/, '$1')
      .replace(/^\\\((.*)\\\)$/s, '$1')
      .replace(/^\\\[(.*)\\\]$/s, '$1')
      .replace(/^\\(?:boxed|fbox)\s*\{(.*)\}$/s, '$1')
      .replace(/(?<!\\|\\right)[.,;]\s*$/, '')
      .trim();
    if (text === before) return text;
  }
}
