// Waiting for what must happen.

const LONGEST = 30_000;

/** Resolves as soon as it is so; fails by saying what did not come about. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + LONGEST;
  while (!(await isSo())) {
    if (Date.now() > deadline) {
      throw new Error(`waited in vain for ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What the promise resolves to, in time. */
export async function inTime<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), LONGEST);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
