; Merge sort of a list of numbers drawn by a small generator: is it in order, and the same numbers?
;=> small (20 #t #t)
;=> full (6000 #t #t)

(define n (if (eq? size 'full) 6000 20))

(define (draw seed) (remainder (+ (* seed 421) 1663) 7875))

(define (numbers n)
  (let loop ((i 0) (seed 12) (all '()))
    (if (= i n) all (loop (+ i 1) (draw seed) (cons seed all)))))

; The first k of the list, upside down, and the rest: both in one pair.
(define (split l k)
  (let loop ((front '()) (l l) (k k))
    (if (= k 0) (cons front l) (loop (cons (car l) front) (cdr l) (- k 1)))))

(define (onto turned l) (if (null? turned) l (onto (cdr turned) (cons (car turned) l))))

(define (merge a b)
  (let loop ((a a) (b b) (done '()))
    (cond ((null? a) (onto done b))
          ((null? b) (onto done a))
          ((< (car b) (car a)) (loop a (cdr b) (cons (car b) done)))
          (else (loop (cdr a) b (cons (car a) done))))))

(define (sort l)
  (let ((half (quotient (length l) 2)))
    (if (= half 0)
        l
        (let ((parts (split l half)))
          (merge (sort (car parts)) (sort (cdr parts)))))))

(define (ordered? l)
  (or (null? l) (null? (cdr l))
      (and (<= (car l) (cadr l)) (ordered? (cdr l)))))

(define (sum l) (fold (lambda (a b) (remainder (+ a (* b b)) 65521)) 0 l))

(define before (numbers n))
(define after (sort before))
(list (length after) (ordered? after) (= (sum before) (sum after)))
