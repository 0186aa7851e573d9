// A whole function is a submission, too.
async function median() {
  class Heap {
    #items = [];
    push(item) {
      let at = this.#items.push(item) - 1;
      for (let up = (at - 1) >> 1; at > 0 && this.#items[up] > this.#items[at]; at = up, up = (at - 1) >> 1) this.#swap(at, up);
    }
    pop() {
      this.#swap(0, this.#items.length - 1);
      const least = this.#items.pop();
      for (let at = 0; ; ) {
        const smallest = [2 * at + 1, 2 * at + 2].reduce((best, down) => (this.#items[down] < this.#items[best] ? down : best), at);
        if (smallest === at) return least;
        this.#swap(at, smallest);
        at = smallest;
      }
    }
    #swap(a, b) {
      [this.#items[a], this.#items[b]] = [this.#items[b], this.#items[a]];
    }
  }

  const numbers = await codemode.input();
  console.log("numbers:", numbers);
  const heap = new Heap();
  for (const number of numbers) heap.push(number);
  let below;
  let middle;
  for (let i = 0; i <= numbers.length >> 1 && numbers.length > 0; i++) [below, middle] = [middle, heap.pop()];
  if (middle === undefined) return null;
  return numbers.length % 2 === 1 ? middle : (below + middle) / 2;
}
