use anyhow::bail;
use separation::{Catalogue, Model};

use super::Shelf;
use crate::error::Usage;
use crate::text;

/// Holds the files of one model, or of all, against their digests.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The model; all, if none is named
    name: Option<String>,
    #[command(flatten)]
    shelf: Shelf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let catalogue = args.shelf.read()?;
    let wanted = |model: &&Model| args.name.as_ref().is_none_or(|name| model.name == *name);
    let models: Vec<&Model> = catalogue.models().iter().filter(wanted).collect();
    if let (Some(name), true) = (&args.name, models.is_empty()) {
        let known: Vec<_> = catalogue.models().iter().map(|model| model.name.as_str()).collect();
        let known = known.join(", ");
        return Err(Usage(format!("there is no model `{name}` here, there are {known}")).into());
    }
    let wrong: usize = models.into_iter().map(|model| verify(&catalogue, model)).sum();
    if wrong > 0 {
        let files = text::count(wrong, "file");
        bail!("{files} not as it should be: fetch the model again with `stemflow models pull`");
    }
    Ok(())
}

/// Tells of a model whether it is right, and gives the number of its files that are not.
fn verify(catalogue: &Catalogue, model: &Model) -> usize {
    let mut wrong = 0;
    for file in &model.files {
        if let Err(error) = catalogue.verify(file) {
            eprintln!("{}: {error}", model.name);
            wrong += 1;
        }
    }
    if wrong == 0 {
        println!("{}: right, {}", model.name, text::count(model.files.len(), "file"));
    }
    wrong
}
