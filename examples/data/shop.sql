CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    euros REAL NOT NULL -- for one piece
);

CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    day TEXT NOT NULL, -- as in 2026-03-31
    product INTEGER NOT NULL REFERENCES products (id),
    count INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('paid', 'open', 'cancelled'))
);

INSERT INTO products VALUES
    (1, 'teapot', 39.0),
    (2, 'green tea', 6.5),
    (3, 'cup', 8.0);

INSERT INTO orders VALUES
    (1, '2026-03-02', 1, 1, 'paid'),
    (2, '2026-03-05', 2, 12, 'paid'),
    (3, '2026-03-05', 3, 4, 'paid'),
    (4, '2026-03-11', 1, 2, 'cancelled'),
    (5, '2026-03-19', 3, 6, 'paid'),
    (6, '2026-03-30', 2, 10, 'paid'),
    (7, '2026-04-01', 1, 3, 'open'),
    (8, '2026-04-02', 2, 20, 'cancelled'),
    (9, '2026-04-03', 3, 2, 'open');
