//! `status`, `nodes` and `collections`.

use super::{Context, coordinator};
use crate::args::ConnectionArgs;
use crate::failure::Outcome;
use crate::view::{CollectionsView, NodesView, StatusView};

/// `holdfast status`.
pub(super) async fn status(context: Context, connection: &ConnectionArgs) -> Outcome<()> {
    let mut coordinator = coordinator(connection).await?;
    let answer = coordinator.status().await?;
    let endpoint = coordinator.endpoint().to_owned();
    context.output.show(&StatusView::new(endpoint, &answer))
}

/// `holdfast nodes`.
pub(super) async fn nodes(context: Context, connection: &ConnectionArgs) -> Outcome<()> {
    let answer = coordinator(connection).await?.nodes().await?;
    context.output.show(&NodesView::from(&answer))
}

/// `holdfast collections`.
pub(super) async fn collections(context: Context, connection: &ConnectionArgs) -> Outcome<()> {
    let answer = coordinator(connection).await?.collections().await?;
    context.output.show(&CollectionsView::from(&answer))
}
