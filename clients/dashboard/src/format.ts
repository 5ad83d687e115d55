// Numbers and times for people.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const precise = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const hour = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const count = (number: number) => whole.format(number);

export const percent = (number: number) => `${number >= 100 ? 100 : Math.floor(number)} %`;

export const moment = (iso: string) => clock.format(new Date(iso));

export const timeOfDay = (date: Date) => hour.format(date);

/** Seconds as the two largest units that they have: `2 h 5 min`. */
export function span(seconds: number): string {
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  const minutes = Math.floor(rounded / 60);
  if (minutes < 60) return join(minutes, 'min', rounded % 60, 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return join(hours, 'h', minutes % 60, 'min');
  return join(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function join(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

export function rate(perSecond: number, unit: string | null): string {
  const slow = perSecond < 1;
  const number = precise.format(slow ? perSecond * 60 : perSecond);
  return `${number}${unit ? ` ${unit}` : ''}/${slow ? 'min' : 's'}`;
}

/** How long ago a time was. */
export function ago(iso: string, now: number): string {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 5) return 'just now';
  return `${span(seconds).split(' ').slice(0, 2).join(' ')} ago`;
}
