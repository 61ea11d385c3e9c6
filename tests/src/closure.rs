use workflow::{Failure, Output, Stage, Task};

/// A stage made of a closure.
pub struct Closure<F> {
    /// The stage's name in the workflow.
    pub name: &'static str,
    /// How many tasks it works on at a time.
    pub slots: usize,
    /// What it does.
    pub run: F,
}

impl<F> Stage for Closure<F>
where
    F: Fn(&Task) -> Result<Output, Failure> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn concurrency(&self) -> usize {
        self.slots
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        (self.run)(task)
    }
}
