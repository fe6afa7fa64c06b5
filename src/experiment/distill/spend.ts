/** What an endpoint's answers cost, in words. */
import type { Price } from './config.js';
import type { Spend } from './records.js';

/** What tokens cost at a price. */
const costOf = (
  { promptTokens, responseTokens }: Pick<Spend, 'promptTokens' | 'responseTokens'>,
  { promptPerMillion, responsePerMillion }: Price,
): number => (promptTokens * promptPerMillion + responseTokens * responsePerMillion) / 1e6;

/** `12 answers, 340 + 1200 tokens, 0.0031 USD`: prompts and responses. */
export function describeSpend(spend: Omit<Spend, 'numSkipped'>): string {
  const { numAnswers, promptTokens, responseTokens, price } = spend;
  const cost = price === null ? '' : `, ${Number(costOf(spend, price).toPrecision(3))} ${price.currency}`;
  return `${numAnswers} answers, ${promptTokens} + ${responseTokens} tokens${cost}`;
}
