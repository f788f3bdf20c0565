; A hash table of strings that grows: words in, every third out again, all looked for.
;=> small (8 #t #f 8)
;=> full (2000 #t #f 2048)

(define words (if (eq? size 'full) 3000 12))

(define (make-table) (vector 0 (make-vector 8 '())))
(define (table-count table) (vector-ref table 0))
(define (table-buckets table) (vector-ref table 1))

(define (hash key size)
  (let loop ((i 0) (sum 7))
    (if (= i (string-length key))
        (remainder sum size)
        (loop (+ i 1) (remainder (+ (* sum 31) (char->integer (string-ref key i))) 1000003)))))

(define (bucket-put! buckets key value)
  (let ((at (hash key (vector-length buckets))))
    (vector-set! buckets at (cons (cons key value) (vector-ref buckets at)))))

(define (grow! table)
  (let* ((old (table-buckets table))
         (new (make-vector (* 2 (vector-length old)) '())))
    (let loop ((i 0))
      (when (< i (vector-length old))
        (for-each (lambda (entry) (bucket-put! new (car entry) (cdr entry))) (vector-ref old i))
        (loop (+ i 1))))
    (vector-set! table 1 new)))

(define (find table key)
  (let ((buckets (table-buckets table)))
    (let loop ((entries (vector-ref buckets (hash key (vector-length buckets)))))
      (cond ((null? entries) #f)
            ((string=? (caar entries) key) (car entries))
            (else (loop (cdr entries)))))))

(define (put! table key value)
  (let ((entry (find table key)))
    (if entry
        (set-cdr! entry value)
        (begin
          (when (> (table-count table) (* 2 (vector-length (table-buckets table)))) (grow! table))
          (bucket-put! (table-buckets table) key value)
          (vector-set! table 0 (+ 1 (table-count table)))))))

(define (remove! table key)
  (let* ((buckets (table-buckets table))
         (at (hash key (vector-length buckets))))
    (when (find table key)
      (vector-set! buckets at
                   (filter (lambda (entry) (not (string=? (car entry) key)))
                           (vector-ref buckets at)))
      (vector-set! table 0 (- (table-count table) 1)))))

(define (word i) (string-append "word-" (number->string (* i 7919))))

(define table (make-table))

(define (each-word f) (let loop ((i 0)) (when (< i words) (f i) (loop (+ i 1)))))

(each-word (lambda (i) (put! table (word i) i)))
(each-word (lambda (i) (put! table (word i) (* i 2))))
(each-word (lambda (i) (when (= 0 (remainder i 3)) (remove! table (word i)))))

(define right #t)
(each-word
 (lambda (i)
   (let ((entry (find table (word i))))
     (if (= 0 (remainder i 3))
         (when entry (set! right #f))
         (when (or (not entry) (not (= (cdr entry) (* i 2)))) (set! right #f))))))

(list (table-count table) right (find table "no such word") (vector-length (table-buckets table)))
