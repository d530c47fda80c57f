-- Nexmark: the event tables and the queries (design facts of the benchmark), one view each.

CREATE TABLE person (
    id BIGINT, name VARCHAR, emailAddress VARCHAR, creditCard VARCHAR, city VARCHAR,
    state VARCHAR, date_time TIMESTAMP(3) NOT NULL LATENESS INTERVAL 4 SECONDS, extra VARCHAR
) WITH ('append_only' = 'true');
CREATE TABLE auction (
    id BIGINT, itemName VARCHAR, description VARCHAR, initialBid BIGINT, reserve BIGINT,
    date_time TIMESTAMP(3) NOT NULL LATENESS INTERVAL 4 SECONDS, expires TIMESTAMP(3) NOT NULL,
    seller BIGINT, category BIGINT, extra VARCHAR
);
CREATE TABLE bid (
    auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
    date_time TIMESTAMP(3) NOT NULL LATENESS INTERVAL 4 SECONDS, extra VARCHAR
);
CREATE TABLE side_input (key BIGINT NOT NULL PRIMARY KEY, "value" VARCHAR, ts TIMESTAMP);

CREATE VIEW q0 AS SELECT auction, bidder, price, date_time, extra FROM bid;
CREATE VIEW q1 AS
    SELECT auction, bidder, CAST(0.908 * price AS DECIMAL(23, 3)) AS price, date_time, extra
    FROM bid;
CREATE VIEW q2 AS SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0;
CREATE VIEW q3 AS
    SELECT p.name, p.city, p.state, a.id
    FROM auction AS a INNER JOIN person AS p ON a.seller = p.id
    WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA');
CREATE VIEW q4 AS
    SELECT q.category, AVG(q.final)
    FROM (
        SELECT MAX(b.price) AS final, a.category
        FROM auction a, bid b
        WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
        GROUP BY a.id, a.category
    ) q
    GROUP BY q.category;
CREATE LOCAL VIEW hops AS
    SELECT auction, COUNT(*) AS num, window_start, window_end
    FROM TABLE(HOP(TABLE bid, DESCRIPTOR(date_time), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
    GROUP BY auction, window_start, window_end;
CREATE VIEW q5 AS
    SELECT h.auction, h.num
    FROM hops h
    JOIN (SELECT MAX(num) AS most, window_start, window_end FROM hops
          GROUP BY window_start, window_end) m
      ON h.window_start = m.window_start AND h.window_end = m.window_end AND h.num >= m.most;
CREATE VIEW q6 AS
    SELECT seller, AVG(final) OVER (
        PARTITION BY seller ORDER BY date_time ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)
    FROM (
        SELECT a.seller, b.price AS final, b.date_time,
               ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS rownum
        FROM auction a, bid b
        WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
    ) WHERE rownum = 1;
CREATE VIEW q7 AS
    SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
    FROM bid b
    JOIN (
        SELECT MAX(price) AS maxprice, window_end AS date_time
        FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
        GROUP BY window_start, window_end
    ) b1 ON b.price = b1.maxprice
    WHERE b.date_time BETWEEN b1.date_time - INTERVAL '10' SECOND AND b1.date_time;
CREATE VIEW q8 AS
    SELECT p.id, p.name, p.starttime
    FROM (SELECT DISTINCT id, name, window_start AS starttime
          FROM TABLE(TUMBLE(DATA => TABLE person, TIMECOL => DESCRIPTOR(date_time),
                            SIZE => INTERVAL '10' SECOND))) p
    JOIN (SELECT DISTINCT seller, window_start AS starttime
          FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(date_time), INTERVAL '10' SECOND))) a
      ON p.id = a.seller AND p.starttime = a.starttime;
CREATE VIEW q9 AS
    SELECT * EXCLUDE (rownum) FROM (
        SELECT a.*, b.auction, b.bidder, b.price, b.date_time AS bid_date_time,
               ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time ASC) rownum
        FROM auction a, bid b
        WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
    ) WHERE rownum <= 1;
CREATE VIEW q10 AS
    SELECT *, FORMAT_DATE('%Y-%m-%d', date_time::DATE), FORMAT_TIMESTAMP('%H:%M', date_time)
    FROM bid;
CREATE VIEW q11 AS
    SELECT bidder, COUNT(*) AS bid_count, window_start, window_end
    FROM TABLE(SESSION(TABLE bid, DESCRIPTOR(date_time), DESCRIPTOR(bidder), INTERVAL '10' SECOND))
    GROUP BY bidder, window_start, window_end;
CREATE VIEW q13 AS
    SELECT b.auction, b.bidder, b.price, b.date_time, s."value"
    FROM (SELECT *, MOD(auction, 10000) AS k FROM bid) AS b
    LEFT ASOF JOIN side_input s MATCH_CONDITION (b.date_time >= s.ts) ON b.k = s.key;
CREATE FUNCTION count_char(s VARCHAR, c VARCHAR) RETURNS BIGINT AS
    CHAR_LENGTH(s) - CHAR_LENGTH(REPLACE(s, c, ''));
CREATE VIEW q14 AS
    SELECT auction, bidder, 0.908 * price AS price,
           CASE WHEN EXTRACT(HOUR FROM date_time) >= 8 AND EXTRACT(HOUR FROM date_time) <= 18
                THEN 'dayTime'
                WHEN HOUR(date_time) <= 6 OR HOUR(date_time) >= 20 THEN 'nightTime'
                ELSE 'otherTime' END AS bidTimeType,
           date_time, extra, count_char(extra, 'c') AS c_counts
    FROM bid
    WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;
CREATE VIEW q16 AS
    SELECT channel, FORMAT_DATE('%Y-%m-%d', CAST(date_time AS DATE)) AS day,
           MAX(FORMAT_TIMESTAMP('%H:%M', date_time)) AS minute,
           COUNT(*) AS total_bids,
           COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
           COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
           COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
           COUNT(DISTINCT bidder) AS total_bidders,
           COUNT(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
           COUNT(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
           COUNT(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
           COUNT(DISTINCT auction) AS total_auctions,
           COUNT(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
           COUNT(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
           COUNT(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
    FROM bid
    GROUP BY channel, CAST(date_time AS DATE);
CREATE VIEW q17 AS
    SELECT auction, CAST(date_time AS DATE) AS day, COUNT(*) AS total_bids,
           COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
           COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
           COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
           MIN(price) AS min_price, MAX(price) AS max_price, AVG(price) AS avg_price,
           SUM(price) AS sum_price
    FROM bid GROUP BY auction, CAST(date_time AS DATE);
CREATE VIEW q18 AS
    SELECT auction, bidder, price, channel, url, date_time, extra
    FROM bid
    QUALIFY ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) = 1;
CREATE VIEW q19 AS
    SELECT * FROM (
        SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number
        FROM bid
    ) WHERE rank_number <= 10;
CREATE VIEW q20 AS
    SELECT b.*, a.* EXCLUDE (date_time, extra), a.date_time AS auction_time, a.extra AS auction_extra
    FROM bid AS b INNER JOIN auction AS a ON b.auction = a.id
    WHERE a.category = 10;
CREATE VIEW q21 AS
    SELECT auction, bidder, price, channel,
           CASE WHEN LOWER(channel) = 'apple' THEN '0'
                WHEN LOWER(channel) = 'google' THEN '1'
                WHEN LOWER(channel) = 'facebook' THEN '2'
                WHEN LOWER(channel) = 'baidu' THEN '3'
                ELSE REGEXP_REPLACE(url, '.*(&|^)channel_id=([^&]*).*', '$2') END AS channel_id
    FROM bid
    WHERE url RLIKE '(&|^)channel_id=([^&]*)' OR LOWER(channel) IN ('apple', 'google', 'facebook', 'baidu');
CREATE VIEW q22 AS
    SELECT auction, bidder, price, channel,
           SPLIT(url, '/')[4] AS dir1, SPLIT(url, '/')[5] AS dir2, SPLIT(url, '/')[6] AS dir3
    FROM bid;
CREATE VIEW q12 AS
    SELECT bidder, COUNT(*) AS bid_count, window_start, window_end
    FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
    GROUP BY bidder, window_start, window_end;
CREATE VIEW q15 AS
    SELECT CAST(date_time AS DATE) AS day,
           COUNT(*) AS total_bids,
           COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
           COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
           COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
           COUNT(DISTINCT bidder) AS total_bidders,
           COUNT(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
           COUNT(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
           COUNT(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
           COUNT(DISTINCT auction) AS total_auctions,
           COUNT(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
           COUNT(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
           COUNT(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
    FROM bid
    GROUP BY CAST(date_time AS DATE);
