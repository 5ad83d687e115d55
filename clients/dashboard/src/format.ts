// Numbers and times for people.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const minute = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });

export const count = (number: number) => whole.format(number);

export const percent = (number: number) => `${Math.floor(number)}%`;

export const moment = (iso: string) => full.format(new Date(iso));

export const timeOfDay = (date: Date) => clock.format(date);

/** A time in as many words as tell it from another one `step` seconds later. */
export function tick(seconds: number, step: number): string {
  const date = new Date(seconds * 1000);
  return (step < 60 ? clock : step < 86_400 ? minute : day).format(date);
}

/** The time of day, and the day when it was another one. */
export function short(iso: string, now: number): string {
  const date = new Date(iso);
  const isToday = date.toDateString() === new Date(now).toDateString();
  return isToday ? clock.format(date) : `${day.format(date)}, ${minute.format(date)}`;
}

/** Seconds in one or two units, as exact as anybody cares: `2 h 5 min`, `12 min`, `3 min 20 s`. */
export function span(seconds: number): string {
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  const minutes = Math.floor(rounded / 60);
  if (minutes < 10) return join(minutes, 'min', rounded % 60, 's');
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return join(hours, 'h', minutes % 60, 'min');
  return join(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function join(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** How long it will take. */
export const left = (seconds: number) => (seconds < 1 ? 'almost done' : `${span(seconds)} left`);

/** Always with as many digits, so that what moves is the number and not its place. */
export function rate(perSecond: number, unit: string | null): string {
  const isSlow = perSecond < 1;
  const value = isSlow ? perSecond * 60 : perSecond;
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  const number = value.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${number}${unit ? ` ${unit}` : ''}/${isSlow ? 'min' : 's'}`;
}

/** How long ago a time was. */
export function ago(iso: string, now: number): string {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 5) return 'just now';
  return `${span(seconds).split(' ').slice(0, 2).join(' ')} ago`;
}

/** A value of any kind as text of so many letters at most. */
export function brief(value: unknown, most: number): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value) ?? '';
  return text.length > most ? `${text.slice(0, most)}… (${count(text.length)} letters)` : text;
}
