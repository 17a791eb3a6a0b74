//! Operations on the points, indexes and named vectors of a collection, as somebody else has made them.

use super::QdrantClient;
use crate::QdrantError;
use holdfast_types::CollectionName;
use reqwest::{Method, header};
use url::Url;

/// What a server says to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeAnswer {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

impl QdrantClient {
    /// Sends one change to a collection: `PUT`, `POST` or `DELETE` of `path`, which is what follows `/collections/<name>/`, with its
    /// query; `body` is JSON, empty for none. What the answer means is for the caller to say: every status is an answer here.
    ///
    /// # Errors
    /// [`QdrantError::Config`] for a path that is no change to points, indexes or vectors: nothing is sent; else no answer came, and
    /// whether the change was made is not known.
    pub async fn change(
        &self,
        collection: &CollectionName,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<ChangeAnswer, QdrantError> {
        let refused = || QdrantError::Config(format!("{method} {path} is no change to points"));
        let method = method_of(method, path).ok_or_else(refused)?;
        let mut request = self.http.request(method, self.url_of(collection, path));
        if !body.is_empty() {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body);
        }
        let limit = self.timeouts.upload;
        let (context, answer) = self.answer(request.timeout(limit), limit).await?;
        let status = answer.status().as_u16();
        let body = self.read_limited(answer, &context).await?;
        Ok(ChangeAnswer { status, body })
    }

    /// `path` stands in it as it is: it is escaped already.
    fn url_of(&self, collection: &CollectionName, path: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments
                .pop_if_empty()
                .extend(["collections", collection.as_str()]);
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let whole = format!("{}/{path}", url.path());
        url.set_path(&whole);
        url.set_query((!query.is_empty()).then_some(query));
        url
    }
}

/// The method, if this is one of the changes that logs of shards hold, or the question which points match.
fn method_of(method: &str, path: &str) -> Option<Method> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let mut segments = path.split('/');
    let (first, second) = (segments.next()?, segments.next());
    // In an address `%2e%2e` means what `..` means: the way up, to the collection itself.
    let plain = !path.split('/').any(|part| {
        let read = part.to_ascii_lowercase().replace("%2e", ".");
        matches!(read.as_str(), "" | "." | "..")
    });
    let known = match (method, first) {
        ("PUT" | "POST", "points") => true,
        ("PUT", "index") => second.is_none(),
        ("PUT", "vectors") | ("DELETE", "index" | "vectors") => second.is_some(),
        (_, _) => false,
    };
    match method {
        _ if !(known && plain) => None,
        "PUT" => Some(Method::PUT),
        "POST" => Some(Method::POST),
        "DELETE" => Some(Method::DELETE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::method_of;

    #[test]
    fn only_changes_to_what_a_collection_holds_can_be_sent() {
        for (method, path) in [
            ("PUT", "points?wait=true"),
            ("POST", "points/delete?wait=true&ordering=medium"),
            ("POST", "points/scroll?consistency=all"),
            ("PUT", "index?wait=true"),
            ("DELETE", "index/a%2Fb?wait=true"),
            ("PUT", "vectors/v"),
            ("DELETE", "vectors/v"),
        ] {
            assert_eq!(method_of(method, path).unwrap().as_str(), method, "{path}");
        }
        for (method, path) in [
            ("DELETE", ""),
            ("PATCH", "points"),
            ("DELETE", "points"),
            ("DELETE", "index"),
            ("PUT", "shards"),
            ("POST", "cluster"),
            ("POST", "snapshots"),
            ("PUT", "points/../../../cluster/recover"),
            ("POST", "points//delete"),
            // A payload field of such a name.
            ("DELETE", "index/%2E%2E?wait=true"),
            ("DELETE", "vectors/.%2e"),
            ("DELETE", "shards/0/snapshots/x"),
        ] {
            assert!(method_of(method, path).is_none(), "{method} {path}");
        }
    }
}
