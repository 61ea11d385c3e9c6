use models::published::{LICENCE, PUBLISHED};
use separation::{Catalogue, Model};

use super::Shelf;
use crate::text;

/// Tells which models there are, and which could be pulled.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shelf: Shelf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let catalogue = args.shelf.read()?;
    println!("In {}:\n", args.shelf.path().display());
    for model in catalogue.models() {
        println!("{}\n", describe(&catalogue, model));
    }
    let others = PUBLISHED.iter().filter(|other| catalogue.find(other.name).is_none());
    let others: Vec<String> =
        others.map(|other| format!("  {:<24} {}", other.name, other.about)).collect();
    if !others.is_empty() {
        println!("To be had with `stemflow models pull NAME`:\n\n{}\n", others.join("\n"));
        println!("Their licence: {LICENCE}.");
    }
    Ok(())
}

fn describe(catalogue: &Catalogue, model: &Model) -> String {
    let Model { name, sources, licence, about, .. } = model;
    let (size, sources) = (text::bytes(super::bytes(catalogue, model)), sources.join(", "));
    format!("  {name:<24} {size:>9}  {sources}\n    {about}\n    licence: {licence}")
}
