//! Who computes: on the CPU, threads that take one segment each; on a GPU, the thread that asks,
//! with several segments at once.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tch::Tensor;

use crate::apply::Item;
use crate::{Demucs, SeparateError};

/// How many segments are computed at a time, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    /// Threads, each with segments of its own; none: the thread that asks.
    pub(crate) threads: Option<NonZero<usize>>,
    /// Segments that go through a network together.
    pub(crate) batch: NonZero<usize>,
}

/// Items for one network and of one length.
type Batch = Vec<Item>;

impl Workers {
    /// The thread that asks, one segment at a time.
    pub(crate) const HERE: Self = Self { threads: None, batch: NonZero::<usize>::MIN };

    /// Segments that keep all of them busy.
    pub(crate) fn segments(&self) -> usize {
        self.threads.map_or(1, NonZero::get) * self.batch.get()
    }

    /// Computes all items, and gives each with its result, `[s, 2, l]`, to `add`, in order, until
    /// that breaks off.
    pub(crate) fn run(
        &self,
        demucs: &Demucs,
        items: impl Iterator<Item = Item>,
        mut add: impl FnMut(&Item, Tensor) -> ControlFlow<()>,
    ) -> Result<(), SeparateError> {
        let batches = Batches { items: items.peekable(), most: self.batch.get() };
        let add = |batch: &Batch, results: Tensor| {
            let mut results = batch.iter().zip(0..).map(|(item, at)| (item, results.get(at)));
            results.try_for_each(|(item, result)| add(item, result))
        };
        let flow = match self.threads {
            None => here(demucs, batches, add),
            Some(threads) => there(demucs, batches, threads, add),
        };
        if flow.is_break() { Err(SeparateError::Cancelled) } else { Ok(()) }
    }
}

fn here(
    demucs: &Demucs,
    mut batches: impl Iterator<Item = Batch>,
    mut add: impl FnMut(&Batch, Tensor) -> ControlFlow<()>,
) -> ControlFlow<()> {
    batches.try_for_each(|batch| {
        let results = compute(demucs, &batch);
        add(&batch, results)
    })
}

fn there(
    demucs: &Demucs,
    batches: impl Iterator<Item = Batch>,
    threads: NonZero<usize>,
    mut add: impl FnMut(&Batch, Tensor) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let (ask, asked) = channel();
    let (answer, answers) = channel();
    let asked = Mutex::new(asked);
    thread::scope(|scope| {
        // Dropped when this closure ends, however it does: then the threads end too.
        let ask = ask;
        for _ in 0..threads.get() {
            let (demucs, asked, answer) = (demucs.clone(), &asked, answer.clone());
            scope.spawn(move || work(&demucs, asked, &answer));
        }
        drop(answer);

        let mut batches = batches.enumerate();
        let mut under_way = 0;
        let mut order = InOrder::default();
        loop {
            // One more than there are threads, so that none has to wait for the next.
            while under_way <= threads.get()
                && let Some(batch) = batches.next()
            {
                ask.send(batch).expect("the threads listen until this closure ends");
                under_way += 1;
            }
            if under_way == 0 {
                return ControlFlow::Continue(());
            }
            let computed = answers.recv().expect("a thread that panicked has said why");
            under_way -= 1;
            order.add(computed, &mut add)?;
        }
    })
}

type Computed = (usize, Batch, Tensor);

/// What one thread does: a batch at a time, all by itself. That wastes nothing on waiting for other
/// threads within a layer, and the result does not depend on their number.
fn work(demucs: &Demucs, asked: &Mutex<Receiver<(usize, Batch)>>, answer: &Sender<Computed>) {
    let _guard = tch::no_grad_guard();
    crate::set_threads(NonZero::<u16>::MIN);
    let next = || asked.lock().ok()?.recv().ok();
    while let Some((index, batch)) = next() {
        let results = compute(demucs, &batch);
        if answer.send((index, batch, results)).is_err() {
            return;
        }
    }
}

/// Adds what comes in the order in which it was asked for: sums are the same whoever is first.
#[derive(Default)]
struct InOrder {
    early: BTreeMap<usize, (Batch, Tensor)>,
    next: usize,
}

impl InOrder {
    fn add(
        &mut self,
        (index, batch, results): Computed,
        add: &mut impl FnMut(&Batch, Tensor) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.early.insert(index, (batch, results));
        while let Some((batch, results)) = self.early.remove(&self.next) {
            self.next += 1;
            add(&batch, results)?;
        }
        ControlFlow::Continue(())
    }
}

/// `[n, s, 2, l]`
fn compute(demucs: &Demucs, batch: &Batch) -> Tensor {
    let shown: Vec<&Tensor> = batch.iter().map(|item| &item.shown).collect();
    demucs.nets[batch[0].net].net.forward(&Tensor::cat(&shown, 0))
}

/// Items that can go through a network together, up to `most`.
struct Batches<I: Iterator<Item = Item>> {
    items: Peekable<I>,
    most: usize,
}

impl<I: Iterator<Item = Item>> Iterator for Batches<I> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = vec![self.items.next()?];
        while batch.len() < self.most
            && let Some(item) = self.items.next_if(|item| item.is_like(&batch[0]))
        {
            batch.push(item);
        }
        Some(batch)
    }
}
