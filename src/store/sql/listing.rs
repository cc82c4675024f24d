//! Statements about what a person looks at, for both databases, as `sql` has the others.

/// `occurs` is the test whether the bytes bound next occur in a body, in two halves.
macro_rules! listing_statements {
    ($database:ty, $connection:ty, $row:ty, $occurs:expr) => {
        use crate::store::listing::RANGE_LOOK;
        use crate::store::{AuditEntry, EventFilter, EventPage, EventRange, EventState, Listed};

        /// Of dead letters and held events so many are looked at: each is a read at random.
        const FEW_LOOK: i64 = 1_000;

        /// Look-ups by key; `exists` becomes a scan of the whole table on Postgres.
        const STATE: &str = "coalesce((select d.state from dead_letters d where d.position = e.position), \
                             case when (select 1 from held_events w where w.position = e.position) is not null then 'held' \
                             when e.position > (select c.position from cursors c where c.reader = 'relay') then 'pending' \
                             else 'published' end)";

        /// Neither a dead letter nor held.
        const UNPARKED: &str = " and not exists (select 1 from dead_letters d where d.position = e.position) \
                                and not exists (select 1 from held_events w where w.position = e.position)";

        fn listed(row: &$row) -> Result<Listed, Error> {
            let origin: String = row.try_get("origin")?;
            let state: String = row.try_get("state")?;
            Ok(Listed {
                position: Position(row.try_get("position")?),
                key: EventKey::from_stored(row.try_get("event_key")?),
                app_id: row.try_get("app_id")?,
                event_type: row.try_get("event_type")?,
                tenant: Tenant { company_id: row.try_get("company_id")?, location_id: row.try_get("location_id")? },
                entity_id: row.try_get("entity_id")?,
                origin: Origin::parse(&origin).ok_or(Error::Corrupt("events.origin"))?,
                received_at: Micros(row.try_get("received_at")?),
                body_bytes: row.try_get("body_bytes")?,
                state: EventState::parse(&state).ok_or(Error::Corrupt("events.state"))?,
            })
        }

        pub(crate) async fn events(conn: &mut $connection, filter: &EventFilter) -> Result<EventPage, Error> {
            let ends = sqlx::query(
                "select h.position as head, c.position as done from log_head h, cursors c where c.reader = 'relay'",
            )
            .fetch_one(&mut *conn)
            .await?;
            let (head, done): (i64, i64) = (ends.try_get("head")?, ends.try_get("done")?);
            let before = filter.before.map_or(head + 1, |before| before.0.min(head + 1));
            // What waits in a table of its own is found there, wherever it is in the log.
            let few = match filter.state {
                Some(EventState::Parked) => Some("dead_letters where state = 'parked' and"),
                Some(EventState::Retry) => Some("dead_letters where state = 'retry' and"),
                Some(EventState::Held) => Some("held_events where"),
                _ => None,
            };
            let (before, after) = match filter.state {
                Some(EventState::Published) => (before.min(done + 1), filter.after.0),
                Some(EventState::Pending) => (before, filter.after.0.max(done)),
                _ => (before, filter.after.0),
            };
            let floor = match few {
                Some(_) => after,
                None => after.max(before.saturating_sub(1).saturating_sub(filter.look)),
            };
            let mut query = sqlx::QueryBuilder::<$database>::new(
                "select e.position, e.event_key, e.app_id, e.event_type, e.company_id, e.location_id, e.entity_id, e.origin, \
                 e.received_at, cast(length(e.body) as bigint) as body_bytes, ",
            );
            query.push(STATE).push(" as state from ");
            if let Some(table) = few {
                // Looked up by themselves: a join is at liberty to read the whole log for those of another type.
                let mut looked = sqlx::QueryBuilder::<$database>::new("select position from ");
                looked.push(table).push(" position < ").push_bind(before).push(" and position > ").push_bind(floor);
                looked.push(" order by position desc limit ").push_bind(filter.look.min(FEW_LOOK));
                let looked: Vec<i64> = looked.build_query_scalar().fetch_all(&mut *conn).await?;
                query.push("events e where e.position in (null");
                for position in looked {
                    query.push(", ").push(position);
                }
                query.push(")");
            } else {
                query.push("events e where e.position < ").push_bind(before);
                query.push(" and e.position > ").push_bind(floor);
            }
            if let Some(event_type) = &filter.event_type {
                query.push(" and e.event_type = ").push_bind(event_type.clone());
            }
            if let Some(tenant) = &filter.tenant {
                query.push(" and (e.location_id = ").push_bind(tenant.clone());
                query.push(" or e.company_id = ").push_bind(tenant.clone()).push(")");
            }
            if let Some(text) = &filter.text {
                let (left, right): (&str, &str) = $occurs;
                query.push(" and ").push(left).push_bind(text.clone().into_bytes()).push(right);
            }
            match filter.state {
                // What these are not is not in question: it is found by the cursor.
                Some(EventState::Pending | EventState::Published) => {
                    query.push(UNPARKED);
                }
                Some(EventState::Held | EventState::Parked | EventState::Retry) | None => (),
            }
            query.push(" order by e.position desc limit ").push_bind(filter.limit);
            let found = query.build().persistent(few.is_none()).fetch_all(&mut *conn).await?;
            let rows = found.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
            let full = i64::try_from(rows.len()).is_ok_and(|found| filter.limit <= found);
            let next = match (full, rows.last()) {
                (true, Some(last)) => Some(last.position),
                _ if few.is_some() => next_of_few(conn, few, before, floor, filter.look.min(FEW_LOOK)).await?,
                _ if floor <= after => None,
                // Retention leaves holes: go on at the next one that is there.
                _ => sqlx::query_scalar::<_, Option<i64>>(
                    "select max(position) from events where position <= $1 and position > $2",
                )
                .bind(floor)
                .bind(after)
                .fetch_one(conn)
                .await?
                .map(|next| Position(next + 1)),
            };
            Ok(EventPage { rows, next })
        }

        /// Where to look on in a table of few, if a page did not look at all of them.
        async fn next_of_few(
            conn: &mut $connection,
            few: Option<&'static str>,
            before: i64,
            floor: i64,
            look: i64,
        ) -> Result<Option<Position>, Error> {
            let Some(table) = few else { return Ok(None) };
            let mut query = sqlx::QueryBuilder::<$database>::new("select count(*) as looked, min(position) as last from (select position from ");
            query.push(table).push(" position < ").push_bind(before).push(" and position > ").push_bind(floor);
            query.push(" order by position desc limit ").push_bind(look).push(") w");
            let row = query.build().fetch_one(conn).await?;
            let (looked, last): (i64, Option<i64>) = (row.try_get("looked")?, row.try_get("last")?);
            Ok(last.filter(|_| look <= looked).map(Position))
        }

        /// `from events e where …`: a range of the log, up to `end`.
        fn push_range(query: &mut sqlx::QueryBuilder<$database>, range: &EventRange, end: i64) {
            query.push("from events e where e.position > ").push_bind(range.after.0);
            query.push(" and e.position <= ").push_bind(end);
            if let Some(event_type) = &range.event_type {
                query.push(" and e.event_type = ").push_bind(event_type.clone());
            }
            if let Some(tenant) = &range.tenant {
                query.push(" and (e.location_id = ").push_bind(tenant.clone());
                query.push(" or e.company_id = ").push_bind(tenant.clone()).push(")");
            }
        }

        /// The next events of a range for which `also` holds, bounded as `read` is, and up to where there is no other.
        async fn read_some(
            conn: &mut $connection,
            range: &EventRange,
            also: &'static str,
            limit: i64,
            max_bytes: i64,
        ) -> Result<(Vec<Recorded>, Position), Error> {
            let end = range.upto.0.min(range.after.0.saturating_add(RANGE_LOOK));
            let mut query = sqlx::QueryBuilder::<$database>::new(concat!(
                "select ",
                event_columns!(),
                " from events where position in (\
                   select position from (\
                     select position, sum(size) over (order by position) - size as before from (\
                       select e.position, length(e.body) as size "
            ));
            push_range(&mut query, range, end);
            query.push(also).push(" order by e.position limit ").push_bind(limit);
            query.push(") run) sized where before < ").push_bind(max_bytes).push(") order by position");
            let rows = query.build().fetch_all(&mut *conn).await?;
            let events = rows.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
            if let Some(last) = events.last() {
                let upto = last.position;
                return Ok((events, upto));
            }
            // Retention leaves holes: the next look begins where something is.
            let next: Option<i64> =
                sqlx::query_scalar("select min(position) from events where position > $1 and position <= $2")
                    .bind(end)
                    .bind(range.upto.0)
                    .fetch_one(conn)
                    .await?;
            Ok((events, next.map_or(range.upto, |next| Position(next - 1))))
        }

        pub(crate) async fn read_range(
            conn: &mut $connection,
            range: &EventRange,
            limit: i64,
            max_bytes: i64,
        ) -> Result<(Vec<Recorded>, Position), Error> {
            read_some(conn, range, "", limit, max_bytes).await
        }

        pub(crate) async fn note_audit(
            conn: &mut $connection,
            who: &str,
            action: &str,
            subject: &str,
            count: i64,
            now: Micros,
        ) -> Result<i64, Error> {
            let id = sqlx::query_scalar(
                "insert into audit (at, who, action, subject, affected) values ($1, $2, $3, $4, $5) returning id",
            )
            .bind(now.0)
            .bind(who)
            .bind(action)
            .bind(subject)
            .bind(count)
            .fetch_one(conn)
            .await?;
            Ok(id)
        }

        pub(crate) async fn audit_trail(
            conn: &mut $connection,
            before: Option<i64>,
            limit: i64,
        ) -> Result<Vec<AuditEntry>, Error> {
            let rows = sqlx::query(
                "select id, at, who, action, subject, affected from audit where id < $1 order by id desc limit $2",
            )
            .bind(before.unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(conn)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(AuditEntry {
                        id: row.try_get("id")?,
                        at: Micros(row.try_get("at")?),
                        who: row.try_get("who")?,
                        action: row.try_get("action")?,
                        subject: row.try_get("subject")?,
                        count: row.try_get("affected")?,
                    })
                })
                .collect()
        }
    };
}

pub(crate) use listing_statements;
