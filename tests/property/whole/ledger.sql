-- Double entry: balances as of days, rates as of days, month ends, what does not add up.
-- acct: '1000', '1100', '2000'
-- type: 'asset', 'income'
-- ccy: 'EUR', 'CHF'
-- rate: 1, 2
CREATE TABLE accounts (acct VARCHAR(10) NOT NULL PRIMARY KEY, type VARCHAR NOT NULL);
CREATE TABLE entries (
  txn BIGINT NOT NULL, leg SMALLINT NOT NULL, acct VARCHAR(10) NOT NULL, ccy CHAR(3) NOT NULL,
  amount DECIMAL(18, 2) NOT NULL, booked DATE NOT NULL, PRIMARY KEY (txn, leg));
CREATE TABLE fx (ccy CHAR(3) NOT NULL, d DATE NOT NULL, rate DECIMAL(12, 2) NOT NULL, PRIMARY KEY (ccy, d));
CREATE VIEW unbalanced AS
SELECT txn, ccy, SUM(amount) AS diff FROM entries GROUP BY txn, ccy HAVING SUM(amount) <> 0;
CREATE LOCAL VIEW rated AS
SELECT e.*, (SELECT f.rate FROM fx f WHERE f.ccy = e.ccy AND f.d <= e.booked ORDER BY f.d DESC LIMIT 1) AS rate
FROM entries e;
CREATE VIEW in_base AS
SELECT acct, SUM(CAST(amount * COALESCE(rate, 1) AS DECIMAL(20, 4))) AS base FROM rated GROUP BY acct;
CREATE VIEW balances AS
SELECT acct, ccy, booked, SUM(amount) AS moved,
  SUM(SUM(amount)) OVER (PARTITION BY acct, ccy ORDER BY booked) AS balance
FROM entries GROUP BY acct, ccy, booked;
CREATE VIEW month_end AS
SELECT acct, ccy, EXTRACT(MONTH FROM booked) AS m, balance FROM balances
QUALIFY ROW_NUMBER() OVER (PARTITION BY acct, ccy, EXTRACT(MONTH FROM booked) ORDER BY booked DESC) = 1;
CREATE VIEW trial AS
SELECT a.acct, a.type, SUM(CASE WHEN e.amount > 0 THEN e.amount ELSE 0 END) AS debit,
  SUM(CASE WHEN e.amount < 0 THEN -e.amount ELSE 0 END) AS credit
FROM accounts a LEFT JOIN entries e ON e.acct = a.acct GROUP BY a.acct, a.type;
CREATE VIEW by_type AS SELECT type, SUM(debit) - SUM(credit) AS net FROM trial GROUP BY ROLLUP(type);
CREATE VIEW unknown AS SELECT DISTINCT acct FROM entries EXCEPT SELECT acct FROM accounts;
CREATE VIEW biggest AS SELECT * FROM entries ORDER BY ABS(amount) DESC, txn, leg LIMIT 5;
