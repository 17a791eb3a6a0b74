//! `status`, `collections` and `diff`.

use super::{Context, coordinator};
use crate::args::{ConnectionArgs, DiffArgs};
use crate::failure::Outcome;
use crate::view::{CollectionsView, DiffView, StatusView};
use holdfast_proto::v1;

/// `holdfast status`.
pub(super) async fn status(context: Context, connection: &ConnectionArgs) -> Outcome<()> {
    let mut coordinator = coordinator(connection).await?;
    let answer = coordinator.status().await?;
    let endpoint = coordinator.endpoint().to_owned();
    context.output.show(&StatusView::new(endpoint, &answer))
}

/// `holdfast collections`.
pub(super) async fn collections(context: Context, connection: &ConnectionArgs) -> Outcome<()> {
    let answer = coordinator(connection).await?.collections().await?;
    context.output.show(&CollectionsView::from(&answer))
}

/// `holdfast diff`.
pub(super) async fn diff(context: Context, args: DiffArgs) -> Outcome<()> {
    let mut coordinator = coordinator(&args.connection).await?;
    let request = v1::DiffRequest {
        collection: args.collection,
        from_us: args.from.as_micros(),
        to_us: args.to.as_micros(),
        ids: args.ids,
    };
    let answer = coordinator.diff(request.clone()).await?;
    context.output.show(&DiffView::new(&request, &answer))
}
