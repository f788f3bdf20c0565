; How many primes are there below n?  The sieve of Eratosthenes, and the last of them.
;=> small (10 29)
;=> full (2262 19997)

(define n (if (eq? size 'full) 20000 30))

(define (strike! sieve step)
  (let loop ((i (* step step)))
    (when (< i n)
      (vector-set! sieve i #f)
      (loop (+ i step)))))

(define (primes)
  (let ((sieve (make-vector n #t)))
    (let loop ((i 2) (found '()))
      (cond ((= i n) found)
            ((vector-ref sieve i)
             (when (< (* i i) n) (strike! sieve i))
             (loop (+ i 1) (cons i found)))
            (else (loop (+ i 1) found))))))

(define found (primes))
(list (length found) (car found))
