-- Who may read and write which file, through groups and folders.
-- relation: 'owner', 'viewer', 'editor'
CREATE TABLE users (user_id INT NOT NULL PRIMARY KEY, name VARCHAR, is_banned BOOLEAN NOT NULL);
CREATE TABLE groups_ (group_id INT NOT NULL PRIMARY KEY, name VARCHAR);
CREATE TABLE members (group_id INT NOT NULL, user_id INT NOT NULL, PRIMARY KEY (group_id, user_id));
CREATE TABLE files (
  file_id INT NOT NULL PRIMARY KEY, parent_id INT FOREIGN KEY REFERENCES files(file_id),
  is_public BOOLEAN NOT NULL);
CREATE TABLE grants (
  group_id INT NOT NULL FOREIGN KEY REFERENCES groups_(group_id),
  file_id INT NOT NULL FOREIGN KEY REFERENCES files(file_id), relation VARCHAR NOT NULL);
⟦DECLARE RECURSIVE VIEW above (file_id INT NOT NULL, folder INT);¦⟧
CREATE MATERIALIZED VIEW above AS
⟦SELECT file_id, parent_id AS folder FROM files WHERE parent_id IS NOT NULL
UNION ALL
SELECT a.file_id, f.parent_id FROM above a JOIN files f ON a.folder = f.file_id
WHERE f.parent_id IS NOT NULL¦
WITH RECURSIVE a(file_id, folder) AS (
  SELECT file_id, parent_id FROM files WHERE parent_id IS NOT NULL
  UNION
  SELECT a.file_id, f.parent_id FROM a JOIN files f ON a.folder = f.file_id
  WHERE f.parent_id IS NOT NULL)
SELECT * FROM a⟧;
CREATE LOCAL VIEW editors AS
SELECT g.group_id, g.file_id FROM grants g WHERE g.relation IN ('owner', 'editor')
UNION
SELECT g.group_id, a.file_id FROM grants g JOIN above a ON a.folder = g.file_id
WHERE g.relation IN ('owner', 'editor');
CREATE VIEW can_write AS
SELECT DISTINCT m.user_id, e.file_id
FROM members m JOIN editors e ON m.group_id = e.group_id JOIN users u ON u.user_id = m.user_id
WHERE NOT u.is_banned;
CREATE VIEW can_read AS
SELECT user_id, file_id FROM can_write
UNION
SELECT u.user_id, f.file_id FROM users u CROSS JOIN files f WHERE f.is_public AND NOT u.is_banned
UNION
SELECT m.user_id, g.file_id FROM members m JOIN grants g USING (group_id)
WHERE g.relation = 'viewer' AND m.user_id IN (SELECT user_id FROM users WHERE is_banned = FALSE);
CREATE VIEW readable AS
SELECT u.user_id, u.name, COUNT(r.file_id) AS n FROM users u LEFT JOIN can_read r
  ON r.user_id = u.user_id GROUP BY u.user_id, u.name;
CREATE VIEW circles AS SELECT DISTINCT file_id FROM above WHERE file_id = folder;
CREATE VIEW everything AS
SELECT u.user_id FROM users u
WHERE NOT EXISTS (SELECT file_id FROM files EXCEPT SELECT r.file_id FROM can_read r WHERE r.user_id = u.user_id);
