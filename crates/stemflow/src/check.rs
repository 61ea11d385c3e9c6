//! `stemflow check`: is this a workflow?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use workflow::{Graph, StageSpec};

/// Checks a workflow: tells all that is wrong with it, or shows its stages.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The workflow
    #[arg(default_value = "workflow.toml")]
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    println!("{}", arrows(&read(&args.file)?));
    Ok(())
}

/// Reads a workflow. The error names everything that is wrong with it.
pub(crate) fn read(path: &Path) -> anyhow::Result<Graph> {
    let shown = path.display();
    let source = fs::read_to_string(path).with_context(|| format!("failed to read {shown}"))?;
    match Graph::parse(&source) {
        Ok(graph) => Ok(graph),
        Err(errors) => bail!("{shown} is not a workflow\n{}", indented(&errors.to_string())),
    }
}

fn indented(lines: &str) -> String {
    let lines: Vec<String> = lines.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// `decode ─► separate ×shard ─► publish`. What is not a chain has a line for each stage instead,
/// as one line cannot show which waits for which.
fn arrows(graph: &Graph) -> String {
    let stages = graph.stages();
    let follows = |pair: &[StageSpec]| pair[1].after == [pair[0].name.as_str()];
    if stages.windows(2).all(follows) {
        return stages.iter().map(label).collect::<Vec<_>>().join(" ─► ");
    }
    let line = |stage: &StageSpec| match stage.after.as_slice() {
        [] => label(stage),
        after => format!("{} ─► {}", after.join(" + "), label(stage)),
    };
    stages.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn label(stage: &StageSpec) -> String {
    match &stage.each {
        Some(list) => format!("{} ×{list}", stage.name),
        None => stage.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, after: &[&str], each: Option<&str>) -> String {
        let each = each.map_or(String::new(), |list| format!("each = {list:?}\n"));
        format!("[[stage]]\nname = {name:?}\nafter = {after:?}\n{each}")
    }

    #[test]
    fn a_chain_is_shown_in_one_line() {
        let source = stage("a", &[], None) + &stage("b", &["a"], Some("part"));
        assert_eq!(arrows(&Graph::parse(&source).unwrap()), "a ─► b ×part");
    }

    #[test]
    fn a_diamond_is_shown_edge_by_edge() {
        let source = stage("split", &[], None)
            + &stage("left", &["split"], Some("part"))
            + &stage("right", &["split"], None)
            + &stage("join", &["left", "right"], None);
        assert_eq!(
            arrows(&Graph::parse(&source).unwrap()),
            "split\nsplit ─► left ×part\nsplit ─► right\nleft + right ─► join"
        );
    }
}
