//! Notices of what lies ahead. The rule itself is SQL: `billd_internal.give_notices`.

use sqlx::types::Uuid;

use crate::store::{Store, StoreError};

/// Charges that one statement looks at: few enough that it is over soon.
const PAGE: i32 = 2_000;

/// Where the next page begins.
#[derive(Debug, Clone, Copy)]
pub struct NoticeCursor {
    at: jiff_sqlx::Timestamp,
    id: Uuid,
}

impl Store {
    /// Tells of what lies ahead and was not told of, one page. Returns how much was told, and where to go on;
    /// `None` at the end.
    pub async fn give_notices(
        &self,
        after: Option<NoticeCursor>,
    ) -> Result<(u32, Option<NoticeCursor>), StoreError> {
        let statement = sqlx::query!(
            r#"-- store::give_notices
            select told as "told!", after_at as "after_at: jiff_sqlx::Timestamp", after_id
            from billd_internal.give_notices($1, $2, $3)"#,
            PAGE,
            after.map(|cursor| cursor.at) as _,
            after.map(|cursor| cursor.id),
        )
        .fetch_one(&self.pool);
        let page = self.within(statement).await?;
        let next = page.after_at.zip(page.after_id);
        Ok((
            u32::try_from(page.told).unwrap_or_default(),
            next.map(|(at, id)| NoticeCursor { at, id }),
        ))
    }
}
