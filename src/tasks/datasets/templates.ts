/** What questions have in common that differ in names and numbers alone. */

const NUMBER_WORDS =
  /^(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|dozen)$/;
const PRONOUNS = /^(?:he|she|him|her|hers|his|himself|herself)$/;
const WORD = /[\p{L}]+|\d[\d,]*(?:\.\d+)?|\.\d+/gu;

/**
 * The template of each question: its words in lower case, with `#` for runs of numbers, `@` for runs of names, one pronoun for he
 * and she, and no punctuation. A name is a word with a capital that none of the questions writes without, so templates depend on
 * all of them: further questions may split a template, and more seldom join two.
 */
export function templatesOf(questions: readonly string[]): string[] {
  const split = questions.map((question) => question.match(WORD) ?? []);
  const lower = new Set(split.flat().filter((word) => word === word.toLowerCase()));
  return split.map((words) => {
    const marks = words.map((word) => {
      const plain = word.toLowerCase();
      if (/^[\d.]/.test(word) || NUMBER_WORDS.test(plain)) return '#';
      if (PRONOUNS.test(plain)) return 'he';
      return word !== plain && !lower.has(plain) ? '@' : plain;
    });
    return marks.filter((mark, index) => !/[#@]/.test(mark) || mark !== marks[index - 1]).join(' ');
  });
}
