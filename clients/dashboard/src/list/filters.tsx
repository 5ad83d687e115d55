// What narrows the list down: a button for each sort of job, with how many there are, and fields for the rest.

import { counts, kinds, shown, tags } from '../board';
import { count } from '../format';
import { addressOfJob, filters, setFilters } from '../route';
import { isName, MOODS, wordOf, type Mood } from '../status';

export function Moods() {
  const { mood: chosen } = filters();
  const numbers = counts.value;
  const isLoud = (mood: Mood) => (mood === 'failed' || mood === 'stalled') && numbers[mood] > 0;
  return (
    <div class="moods" role="group" aria-label="Show jobs in one state">
      <button type="button" aria-pressed={!chosen} onClick={() => setFilters({ mood: '' })}>
        All <span class="number">{count(numbers.all)}</span>
      </button>
      {MOODS.map((mood) => (
        <button
          key={mood}
          type="button"
          class={[isLoud(mood) && `is-${mood} loud`, numbers[mood] === 0 && 'none'].filter(Boolean).join(' ')}
          aria-pressed={chosen === mood}
          onClick={() => setFilters({ mood: chosen === mood ? '' : mood })}
        >
          <span class={`badge is-${mood}`}>{wordOf(mood)}</span> <span class="number">{count(numbers[mood])}</span>
        </button>
      ))}
    </div>
  );
}

export function Filters() {
  const { kind, tag, text } = filters();
  // Enter opens what was meant: the only one left, or the job of that very name, which may have ended long ago.
  const open = (event: Event) => {
    event.preventDefault();
    const name = text.trim();
    const only = shown.value.length === 1 ? shown.value[0] : shown.value.find((jobId) => jobId === name);
    if (only !== undefined) location.hash = addressOfJob(only);
    else if (shown.value.length === 0 && isName(name)) location.hash = addressOfJob(name);
  };
  return (
    <form class="filters" role="search" aria-label="Jobs" onSubmit={open}>
      <input
        type="search"
        aria-label="Search names, messages, steps, owners and tags"
        placeholder="Search names, messages, steps, tags"
        aria-keyshortcuts="/"
        value={text}
        onInput={(event) => setFilters({ text: event.currentTarget.value })}
      />
      <Choice name="All kinds" label="Kind" chosen={kind} options={kinds.value} onChange={(kind) => setFilters({ kind })} />
      <Choice name="All tags" label="Tag" chosen={tag} options={tags.value} onChange={(tag) => setFilters({ tag })} />
    </form>
  );
}

interface ChoiceProps {
  name: string;
  label: string;
  chosen: string;
  options: string[];
  onChange: (chosen: string) => void;
}

function Choice({ name, label, chosen, options, onChange }: ChoiceProps) {
  const all = chosen && !options.includes(chosen) ? [chosen, ...options] : options;
  return (
    <select aria-label={label} value={chosen} onChange={(event) => onChange(event.currentTarget.value)}>
      <option value="">{name}</option>
      {all.map((option) => (
        <option key={option} value={option}>{option}</option>
      ))}
    </select>
  );
}
